"""Locks as rows: taking all or none, renewing them, taking over from who has gone, and refusing who has lost one.

A lock is a lease: its holder renews it, and each renewal changes its row. No wall clock decides anything here. Who
wants a lease that another holds watches for renewals on its own clock (leases.py), and says which ones fell silent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from reconciler.errors import StateLocked, StateLost
from reconciler.plan.snapshot import SHARED, lock_label
from reconciler.state import history
from reconciler.state.locks import process
from reconciler.state.sql import schema
from reconciler.state.store import Holder, Life, Lock

_ROWS = schema.locks
_MOMENT = "%Y-%m-%d %H:%M:%S UTC"
_LATELY = 50
"""How many of the latest applies are searched for the one that took a lock over and has given it back since."""

_TICK, _STILL = timedelta(microseconds=1), timedelta(seconds=1)
"""What sets renewals apart while a clock stands still, or goes back by less than this; else it does so itself."""


def held(connection: Connection, ttl: timedelta) -> tuple[Lock, ...]:
    """Return the locks that are held, by name."""
    return tuple(_lock(row, ttl) for row in connection.execute(select(_ROWS).order_by(_ROWS.c.name)))


def take(
    connection: Connection,
    names: Collection[str],
    holder: Holder,
    silent: Collection[Lock],
    now: datetime,
    ttl: timedelta,
) -> tuple[Lock, ...]:
    """Take all of these locks, or raise StateLocked; the caller's transaction has the `meta` row to itself.

    One that is `silent`, and still is as it was then, counts as given up; so does one whose process has surely ended.
    """
    wanted = sorted(set(names))
    standing = connection.execute(select(_ROWS).where(_ROWS.c.name.in_(wanted)).order_by(_ROWS.c.name)).all()
    for row in standing:
        if not _abandoned(row, holder) and _lock(row, ttl) not in silent:
            raise _locked(_lock(row, ttl))
    connection.execute(delete(_ROWS).where(_ROWS.c.name.in_(wanted)))
    token: int = connection.execute(select(schema.meta.c.token)).scalar_one()
    taken = tuple(Lock(name, holder, now, token + count, now) for count, name in enumerate(wanted, start=1))
    if taken:
        connection.execute(insert(_ROWS), [_row(lock, ttl) for lock in taken])
        connection.execute(update(schema.meta).values(token=token + len(taken)))
    return taken


def renew(connection: Connection, taken: Collection[Lock], now: datetime, ttl: timedelta) -> None:
    """Show that their holder lives; raises StateLost where one of these locks is another's now."""
    refuse_lost(connection, taken)
    these = _ROWS.c.token.in_([lock.token for lock in taken])
    expires = now + ttl
    until = connection.execute(select(_ROWS.c.expires).where(these)).scalars()
    late = [moment for moment in until if moment is not None and expires <= moment < expires + _STILL]
    if late:
        expires = max(late) + _TICK
    connection.execute(update(_ROWS).where(these).values(expires=expires))


def release(connection: Connection, taken: Iterable[Lock]) -> None:
    """Give locks back; one that another has taken over meanwhile is left alone: its token is another."""
    tokens = [lock.token for lock in taken]
    connection.execute(delete(_ROWS).where(_ROWS.c.token.in_(tokens)))


def refuse_lost(connection: Connection, taken: Collection[Lock]) -> None:
    """Raise StateLost where one of these locks is no longer held under its token; says who took it."""
    tokens = [lock.token for lock in taken]
    found = set(connection.execute(select(_ROWS.c.token).where(_ROWS.c.token.in_(tokens))).scalars())
    lost = [lock for lock in taken if lock.token not in found]
    if lost:
        raise _lost(connection, min(lost, key=lambda lock: (lock.name == SHARED, lock.name)))


def refuse_held(connection: Connection, holder: Holder, ttl: timedelta) -> None:
    """Raise StateLocked where anyone holds any lock, but for those whose process has surely ended."""
    for row in connection.execute(select(_ROWS).order_by(_ROWS.c.name)):
        if not _abandoned(row, holder):
            raise _locked(_lock(row, ttl))


def force(connection: Connection, name: str, token: int | None, ttl: timedelta) -> Lock | None:
    """Take a lock away from whoever holds it, and return it; None where nobody does, or not under this token."""
    row = connection.execute(select(_ROWS).where(_ROWS.c.name == name)).one_or_none()
    if row is None or token not in (None, row.token):
        return None
    connection.execute(delete(_ROWS).where(_ROWS.c.name == name))
    return _lock(row, ttl)


def life(connection: Connection, lock: Lock, onlooker: Holder, now: datetime) -> Life:
    """Guess, for people, whether a lock's holder still works: by its process if it is here, else by the clocks."""
    row = connection.execute(select(_ROWS).where(_ROWS.c.token == lock.token)).one_or_none()
    if row is None or _abandoned(row, onlooker):
        return Life.ENDED
    return Life.SILENT if row.expires is None or row.expires < now else Life.ALIVE


def _abandoned(row: Any, holder: Holder) -> bool:
    """Whether a lock's holder has surely ended; only its own host can tell."""
    was = process.Identity(row.process, row.boot, row.machine)
    return bool(row.host == holder.host and process.gone(row.pid, was))


def _locked(lock: Lock) -> StateLocked:
    return StateLocked(
        f"{lock_label(lock.name)} is being changed by {lock.holder} since {lock.since:{_MOMENT}}, "
        f"last sign of life {lock.alive:{_MOMENT}}",
        hint="--lock-timeout 2m waits until it is done, and takes over from a holder that gives no sign of life; "
        f"`reconciler unlock {lock.name}` takes its lock away",
    )


def _lost(connection: Connection, lock: Lock) -> StateLost:
    """Say who has a lock now, or had it last as far as history tells."""
    row = connection.execute(select(_ROWS).where(_ROWS.c.name == lock.name)).one_or_none()
    if row is not None:
        who = f"taken over by {Holder(row.user, row.host, row.pid)} at {row.since:{_MOMENT}}"
    else:
        later = (
            f"taken over by {apply.holder}, whose apply began at {apply.started:{_MOMENT}}"
            for apply in history.latest(connection, _LATELY)
            if lock.name in apply.slices and apply.holder != lock.holder
        )
        who = next(later, "taken away, and nobody holds it now")
    return StateLost(
        f"{lock_label(lock.name)} was {who}, so nothing more is changed here",
        hint="ask whoever is named, or apply again once they are done: it goes on from what stands",
    )


def _lock(row: Any, ttl: timedelta) -> Lock:
    alive = row.since if row.expires is None else row.expires - ttl
    return Lock(row.name, Holder(row.user, row.host, row.pid), row.since, row.token, alive)


def _row(lock: Lock, ttl: timedelta) -> dict[str, Any]:
    identity = process.identify(lock.holder.pid)
    return {
        "name": lock.name,
        "user": lock.holder.user,
        "host": lock.holder.host,
        "pid": lock.holder.pid,
        "process": identity.process,
        "boot": identity.boot,
        "machine": identity.machine,
        "since": lock.since,
        "token": lock.token,
        "expires": lock.alive + ttl,
    }
