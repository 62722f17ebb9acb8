"""How long a lock that is not renewed still counts: one setting for all who share a record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from reconciler.errors import UsageError

LEASE_TTL: Final = "RECONCILER_LEASE_TTL"
"""The variable that says it."""

TTL: Final = timedelta(seconds=30)
"""What holds where the variable does not say otherwise."""

_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(hours=1)
_FORM = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(s|m|h)?")
_FORMS = "30s, 2m, 1h or plain seconds"
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600}


def read_duration(text: str) -> float:
    """Read a length of time as one types it (`30s`, `2m`, `1h`, plain seconds), in seconds; raises ValueError."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        msg = f"{text!r} is no length of time; write {_FORMS}"
        raise ValueError(msg)
    return float(found[1]) * _SECONDS[found[2]]


def lease_ttl(environ: Mapping[str, str]) -> timedelta:
    """Return what the environment says, or else the usual; raises UsageError for what makes no sense."""
    text = environ.get(LEASE_TTL, "")
    if not text:
        return TTL
    try:
        ttl = timedelta(seconds=read_duration(text))
    except ValueError:
        raise UsageError(f"{LEASE_TTL}: {text!r} is no length of time", hint=f"write {_FORMS}") from None
    if not _SHORTEST <= ttl <= _LONGEST:
        raise UsageError(
            f"{LEASE_TTL} is {text}, but must be between 1s and 1h",
            hint="it is to be the same for all who share a record",
        )
    return ttl
