"""Stores orphans: which were seen on which host, since when, and how often."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, insert, select

from reconciler.spec.models.names import HostName
from reconciler.state.rows import seen_orphan
from reconciler.state.sql import schema
from reconciler.state.store import OrphanId, SeenOrphan

_ROWS = schema.orphans
_THIS = and_(
    _ROWS.c.host == bindparam("b_host"),
    _ROWS.c.address == bindparam("b_address"),
    _ROWS.c.fingerprint == bindparam("b_fingerprint"),
)


def read(connection: Connection) -> tuple[SeenOrphan, ...]:
    """Return the orphans, by host and address."""
    found = map(seen_orphan, connection.execute(select(_ROWS)))
    return tuple(sorted(found, key=lambda one: one.orphan))


def see(connection: Connection, found: Collection[OrphanId], hosts: Collection[HostName], now: datetime) -> None:
    """Count what is seen now, and forget what is no longer on these hosts.

    A time in the future was written by a wrong clock: it is set to now.
    """
    known = {one.orphan: one for one in read(connection)}
    kept = [one for orphan, one in known.items() if orphan.host not in hosts and orphan not in set(found)]
    rows = [_row(one.orphan, one.first, one.count) for one in kept]
    for orphan in sorted(set(found)):
        before = known.get(orphan)
        rows.append(_row(orphan, min(before.first, now), before.count + 1) if before else _row(orphan, now, 1))
    connection.execute(delete(_ROWS))
    if rows:
        connection.execute(insert(_ROWS), rows)


def forget(connection: Connection, found: Collection[OrphanId]) -> None:
    """Forget orphans that were deleted."""
    if found:
        rows = [{f"b_{name}": value for name, value in orphan._asdict().items()} for orphan in found]
        connection.execute(delete(_ROWS).where(_THIS), rows)


def _row(orphan: OrphanId, first: datetime, count: int) -> dict[str, Any]:
    return {**orphan._asdict(), "first_seen": first, "seen": count}
