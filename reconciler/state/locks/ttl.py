"""How long a lock that is not renewed still counts: one setting for all who share a record."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from reconciler.errors import UsageError
from reconciler.spec.models.durations import DURATION_FORMS, parse_duration

LEASE_TTL: Final = "RECONCILER_LEASE_TTL"
"""The variable that says it."""

TTL: Final = timedelta(seconds=30)
"""What holds where the variable does not say otherwise."""

_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(hours=1)


def lease_ttl(environ: Mapping[str, str]) -> timedelta:
    """Return what the environment says, or else the usual; raises UsageError for what makes no sense."""
    text = environ.get(LEASE_TTL, "")
    if not text:
        return TTL
    try:
        ttl = timedelta(seconds=parse_duration(text))
    except ValueError:
        raise UsageError(f"{LEASE_TTL}: {text!r} is not a valid duration", hint=f"write {DURATION_FORMS}") from None
    if not _SHORTEST <= ttl <= _LONGEST:
        raise UsageError(
            f"{LEASE_TTL} is {text}, but must be between 1s and 1h",
            hint="it is to be the same for all who share a record",
        )
    return ttl
