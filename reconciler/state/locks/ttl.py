"""Reads how long a lock that is not renewed stays valid: one setting for all processes that share a state."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from reconciler.errors import UsageError
from reconciler.spec.models.durations import DURATION_FORMS, parse_duration

LEASE_TTL: Final = "RECONCILER_LEASE_TTL"
"""The environment variable that sets it."""

TTL: Final = timedelta(seconds=30)
"""The default."""

_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(hours=1)


def lease_ttl(environ: Mapping[str, str]) -> timedelta:
    """Return what the environment says, or the default; raises UsageError for an invalid value."""
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
            hint="it must be the same for all processes that share a state",
        )
    return ttl
