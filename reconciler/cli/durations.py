"""Lengths of time as one types them: `30s`, `2m`, `1h`, or plain seconds; what they bound is the verbs' part."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import Annotated, Final

import typer

from reconciler.errors import UsageError

LEASE_TTL: Final = "RECONCILER_LEASE_TTL"
"""The variable that says how long a lock counts that is not renewed."""

_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(hours=1)
_FORM = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(s|m|h)?")
_FORMS = "30s, 2m, 1h or plain seconds"
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600}


def duration(text: str) -> float:
    """Read a length of time, in seconds; raises typer.BadParameter for what is none."""
    found = _FORM.fullmatch(str(text).strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no length of time; write {_FORMS}")
    return float(found[1]) * _SECONDS[found[2]]


def lease_ttl() -> timedelta | None:
    """Return what RECONCILER_LEASE_TTL says, None where it is not set; raises UsageError for what makes no sense."""
    text = os.environ.get(LEASE_TTL, "")
    if not text:
        return None
    try:
        ttl = timedelta(seconds=duration(text))
    except typer.BadParameter:
        raise UsageError(f"{LEASE_TTL}: {text!r} is no length of time", hint=f"write {_FORMS}") from None
    if not _SHORTEST <= ttl <= _LONGEST:
        raise UsageError(
            f"{LEASE_TTL} is {text}, but must be between 1s and 1h",
            hint="it is to be the same for all who share a record",
        )
    return ttl


LockTimeout = Annotated[
    float,
    typer.Option(
        "--lock-timeout",
        metavar="DURATION",
        parser=duration,
        show_default="0: not at all",
        envvar="RECONCILER_LOCK_TIMEOUT",
        help="How long to wait for slices that another apply holds, such as 30s or 2m; a holder that gives no sign of "
        "life meanwhile is taken over from.",
    ),
]
