"""Orphans as rows: which were seen on which host, since when, and how often; whose they are is not known here."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, insert, select

from reconciler.spec.models.names import HostName
from reconciler.state.sql import schema
from reconciler.state.store import OrphanId, SeenOrphan

_ROWS = schema.orphans
_THIS = and_(
    _ROWS.c.host == bindparam("b_host"),
    _ROWS.c.address == bindparam("b_address"),
    _ROWS.c.fingerprint == bindparam("b_fingerprint"),
)


def read(connection: Connection) -> tuple[SeenOrphan, ...]:
    """Return what was seen, by host and address."""
    rows = connection.execute(select(_ROWS))
    found = (SeenOrphan(OrphanId(row.host, row.address, row.fingerprint), row.first_seen, row.seen) for row in rows)
    return tuple(sorted(found, key=lambda one: one.orphan))


def see(connection: Connection, found: Collection[OrphanId], hosts: Collection[HostName], now: datetime) -> None:
    """Count what is seen now, and forget what no longer is on these hosts.

    A moment that lies ahead is one that a wrong clock wrote: counting begins anew.
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
    """Forget what was removed."""
    if found:
        rows = [{f"b_{name}": value for name, value in orphan._asdict().items()} for orphan in found]
        connection.execute(delete(_ROWS).where(_THIS), rows)


def _row(orphan: OrphanId, first: datetime, count: int) -> dict[str, Any]:
    return {**orphan._asdict(), "first_seen": first, "seen": count}
