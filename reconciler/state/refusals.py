"""Makes the errors that every store raises: for a lock that is held or lost, and a number that is claimed twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from reconciler.errors import StateError, StateLocked, StateLost
from reconciler.plan.snapshot import Claim, lock_label
from reconciler.state.store import HistoryEntry, Lock

LATEST: Final = 50
"""How many of the latest applies are searched for the one that took a lock over and has released it since."""

_TIME: Final = "%Y-%m-%d %H:%M:%S UTC"


def locked(one: Lock) -> StateLocked:
    """Return the error for a lock that another process holds."""
    return StateLocked(
        f"{lock_label(one.name)} is being changed by {one.holder} since {one.since:{_TIME}}, "
        f"last renewed at {one.alive:{_TIME}}",
        hint="--lock-timeout 2m waits for it, and takes over if the holder's lease expires; "
        f"`reconciler unlock {one.name}` removes the lock",
    )


def lost(one: Lock, now: Lock | None, latest: Iterable[HistoryEntry]) -> StateLost:
    """Return the error for a lock that was lost: `now` is who holds it, else the history names who held it last."""
    if now is not None:
        who = f"taken over by {now.holder} at {now.since:{_TIME}}"
    else:
        later = (
            f"taken over by {apply.holder}, whose apply began at {apply.started:{_TIME}}"
            for apply in latest
            if one.name in apply.slices and apply.holder != one.holder
        )
        who = next(later, "removed, and nobody holds it now")
    return StateLost(
        f"{lock_label(one.name)} was {who}, so this apply changes nothing more",
        hint="ask the person named, or run apply again when they are done; completed steps are kept",
    )


def claimed_twice(claim: Claim, one: str, other: str) -> StateError:
    """Return the error for a number that two slices claim."""
    where = f" on {claim.scope}" if claim.scope else ""
    return StateError(
        f"{claim.kind} {claim.value}{where} is taken by {one}, and {other} claims it too",
        hint="plan again; what is removed becomes free once it is confirmed gone",
    )
