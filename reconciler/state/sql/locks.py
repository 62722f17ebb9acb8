"""Stores locks as rows: takes all or none, renews them, takes over abandoned ones, and refuses lost ones.

A lock is a lease: its holder renews it, and each renewal changes its row. No wall clock decides anything here. A
process that waits for a lease watches for renewals on its own clock (leases.py), and says which leases have expired.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from reconciler.errors import StateLost
from reconciler.plan.snapshot import SHARED
from reconciler.state import refusals
from reconciler.state.locks import process
from reconciler.state.rows import is_abandoned, lock
from reconciler.state.sql import history, schema
from reconciler.state.store import Holder, Lock

_ROWS = schema.locks
_TICK, _STILL = timedelta(microseconds=1), timedelta(seconds=1)
"""What makes renewals differ while a clock does not advance, or goes back by less than this."""


def held(connection: Connection, ttl: timedelta) -> tuple[Lock, ...]:
    """Return the locks that are held, by name."""
    return tuple(lock(row, ttl) for row in connection.execute(select(_ROWS).order_by(_ROWS.c.name)))


def take(
    connection: Connection,
    names: Collection[str],
    holder: Holder,
    silent: Collection[Lock],
    now: datetime,
    ttl: timedelta,
) -> tuple[Lock, ...]:
    """Take all of these locks, or raise StateLocked; the caller's transaction has the `meta` row to itself.

    A lock that is in `silent`, and unchanged since, is taken over; so is one whose process has certainly ended.
    """
    wanted = sorted(set(names))
    held_rows = connection.execute(select(_ROWS).where(_ROWS.c.name.in_(wanted)).order_by(_ROWS.c.name)).all()
    for row in held_rows:
        if not is_abandoned(row, holder) and lock(row, ttl) not in silent:
            raise refusals.locked(lock(row, ttl))
    connection.execute(delete(_ROWS).where(_ROWS.c.name.in_(wanted)))
    token: int = connection.execute(select(schema.meta.c.token)).scalar_one()
    taken = tuple(Lock(name, holder, now, token + count, now) for count, name in enumerate(wanted, start=1))
    if taken:
        connection.execute(insert(_ROWS), [_row(lock, ttl) for lock in taken])
        connection.execute(update(schema.meta).values(token=token + len(taken)))
    return taken


def renew(connection: Connection, taken: Collection[Lock], now: datetime, ttl: timedelta) -> None:
    """Show that their holder is alive; raises StateLost where another holder has one of these locks."""
    refuse_lost(connection, taken)
    these = _ROWS.c.token.in_([lock.token for lock in taken])
    expires = now + ttl
    until = connection.execute(select(_ROWS.c.expires).where(these)).scalars()
    late = [time for time in until if time is not None and expires <= time < expires + _STILL]
    if late:
        expires = max(late) + _TICK
    connection.execute(update(_ROWS).where(these).values(expires=expires))


def release(connection: Connection, taken: Iterable[Lock]) -> None:
    """Release locks; one that another has taken over is left alone, because its token differs."""
    tokens = [lock.token for lock in taken]
    connection.execute(delete(_ROWS).where(_ROWS.c.token.in_(tokens)))


def refuse_lost(connection: Connection, taken: Collection[Lock]) -> None:
    """Raise StateLost, naming the new holder, where one of these locks is no longer held under its token."""
    tokens = [lock.token for lock in taken]
    found = set(connection.execute(select(_ROWS.c.token).where(_ROWS.c.token.in_(tokens))).scalars())
    lost = [lock for lock in taken if lock.token not in found]
    if lost:
        raise _lost(connection, min(lost, key=lambda lock: (lock.name == SHARED, lock.name)))


def refuse_held(connection: Connection, holder: Holder, ttl: timedelta) -> None:
    """Raise StateLocked where any lock is held, except by a process that has certainly ended."""
    for row in connection.execute(select(_ROWS).order_by(_ROWS.c.name)):
        if not is_abandoned(row, holder):
            raise refusals.locked(lock(row, ttl))


def force(connection: Connection, name: str, token: int | None, ttl: timedelta) -> Lock | None:
    """Delete a lock and return it; None where it is not held, or not under this token."""
    row = connection.execute(select(_ROWS).where(_ROWS.c.name == name)).one_or_none()
    if row is None or token not in (None, row.token):
        return None
    connection.execute(delete(_ROWS).where(_ROWS.c.name == name))
    return lock(row, ttl)


def find(connection: Connection, token: int) -> Any:
    """Return the row of the lock with this token, or None."""
    return connection.execute(select(_ROWS).where(_ROWS.c.token == token)).one_or_none()


def _lost(connection: Connection, one: Lock) -> StateLost:
    """Return the error for a lost lock, which says who holds it now, or held it last according to the history."""
    row = connection.execute(select(_ROWS).where(_ROWS.c.name == one.name)).one_or_none()
    now = None if row is None else lock(row, timedelta())
    return refusals.lost(one, now, () if now else history.latest(connection, refusals.LATEST))


def _row(one: Lock, ttl: timedelta) -> dict[str, Any]:
    identity = process.identify(one.holder.pid)
    return {
        "name": one.name,
        "user": one.holder.user,
        "host": one.holder.host,
        "pid": one.holder.pid,
        "process": identity.process,
        "boot": identity.boot,
        "machine": identity.machine,
        "since": one.since,
        "token": one.token,
        "expires": one.alive + ttl,
    }
