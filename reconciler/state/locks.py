"""Locks as rows: taking all or none, telling who holds one, and taking over from a process that has ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from reconciler.errors import StateLocked
from reconciler.state import process, schema
from reconciler.state.store import Holder, Lock

_ROWS = schema.locks


def held(connection: Connection) -> tuple[Lock, ...]:
    """Return the locks that are held, by name."""
    return tuple(_lock(row) for row in connection.execute(select(_ROWS).order_by(_ROWS.c.name)))


def take(connection: Connection, names: Collection[str], holder: Holder, now: datetime) -> tuple[Lock, ...]:
    """Take all of these locks, or raise StateLocked; the caller's transaction has the `meta` row to itself."""
    wanted = sorted(set(names))
    standing = connection.execute(select(_ROWS).where(_ROWS.c.name.in_(wanted)).order_by(_ROWS.c.name)).all()
    for row in standing:
        if not _abandoned(row, holder):
            raise _locked(_lock(row))
    connection.execute(delete(_ROWS).where(_ROWS.c.name.in_(wanted)))
    token: int = connection.execute(select(schema.meta.c.token)).scalar_one()
    taken = tuple(Lock(name, holder, now, token + count) for count, name in enumerate(wanted, start=1))
    if taken:
        connection.execute(insert(_ROWS), [_row(lock) for lock in taken])
        connection.execute(update(schema.meta).values(token=token + len(taken)))
    return taken


def release(connection: Connection, taken: Iterable[Lock]) -> None:
    """Give locks back; one that another has taken over meanwhile is left alone: its token is another."""
    tokens = [lock.token for lock in taken]
    connection.execute(delete(_ROWS).where(_ROWS.c.token.in_(tokens)))


def refuse_held(connection: Connection, holder: Holder) -> None:
    """Raise StateLocked where anyone holds any lock, but for those whose process has surely ended."""
    for row in connection.execute(select(_ROWS).order_by(_ROWS.c.name)):
        if not _abandoned(row, holder):
            raise _locked(_lock(row))


def force(connection: Connection, name: str, token: int | None) -> Lock | None:
    """Take a lock away from whoever holds it, and return it; None where nobody does, or not under this token."""
    row = connection.execute(select(_ROWS).where(_ROWS.c.name == name)).one_or_none()
    if row is None or token not in (None, row.token):
        return None
    connection.execute(delete(_ROWS).where(_ROWS.c.name == name))
    return _lock(row)


def _abandoned(row: Any, holder: Holder) -> bool:
    """Whether a lock's holder has surely ended; only its own host can tell."""
    was = process.Identity(row.process, row.boot, row.machine)
    return bool(row.host == holder.host and process.gone(row.pid, was))


def _locked(lock: Lock) -> StateLocked:
    who = f"{lock.holder.user} on host {lock.holder.host} (pid {lock.holder.pid})"
    what = "what slices share" if lock.name.startswith("@") else lock.name
    return StateLocked(
        f"{what} is being changed by {who} since {lock.since:%Y-%m-%d %H:%M:%S} UTC",
        hint="wait until it is done; the lock of a process that has ended is taken over on its own host",
    )


def _lock(row: Any) -> Lock:
    return Lock(row.name, Holder(row.user, row.host, row.pid), row.since, row.token)


def _row(lock: Lock) -> dict[str, Any]:
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
    }
