"""Reads a state without SQLAlchemy where it is a SQLite file of the current schema, and through `sql/` where it is not.

Importing SQLAlchemy takes longer than planning a slice, and verbs that only read need little SQL.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from reconciler.errors import StateUnreadable
from reconciler.plan.model import Plan
from reconciler.plan.snapshot import Cordon, ResourceState, StateSnapshot
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, HostName, SliceKey
from reconciler.state import location, mounts, revisions, rows, staleness
from reconciler.state.chunks import CHUNK, chunks
from reconciler.state.codec import decode_allocation
from reconciler.state.faults import RESTORE, decoding, mapped_sqlite
from reconciler.state.locks.ttl import TTL, lease_ttl
from reconciler.state.store import (
    ApplyId,
    HistoryEntry,
    Holder,
    JournalEntry,
    Life,
    Lock,
    SeenOrphan,
    StateMarks,
    StateReader,
)

BUSY_TIMEOUT: Final = 30_000
"""How long SQLite waits for another process's write, in milliseconds; writes are short."""

CHECKED: Final = 4 * 2**20
"""The largest file, in bytes, that is checked each time it is read; before it is written, it always is.

The check reads every page, 1 to 2 ms for each MB, and a plan is to answer at once.
"""

_TIMES: Final = frozenset(("started", "finished", "intended", "recorded", "since", "expires", "first_seen"))


def open_reader(cluster: Cluster, where: str | None) -> StateReader:
    """Open a cluster's state for reading: at `where`, or at its default place."""
    return read_state(
        location.place_of(cluster, where),
        cluster=cluster.name,
        clock=lambda: datetime.now(UTC),
        ttl=lease_ttl(os.environ),
    )


def read_state(where: str | Path, *, cluster: str, clock: Callable[[], datetime], ttl: timedelta = TTL) -> StateReader:
    """Open the state of a cluster for reading, as `open_store` does with `read_only`; raises what it raises."""
    file = location.sqlite_file(where)
    if file is not None:
        mounts.refuse_network(file)
        if location.is_missing(file):
            return EmptyReader()
        location.inspect(file)
        reader = _read_file(file, cluster, clock, ttl)
        if reader is not None:
            return reader
    from reconciler.state.sql.store import open_store  # noqa: PLC0415 - SQLAlchemy takes longer to import than a plan

    return open_store(where, cluster=cluster, clock=clock, read_only=True, ttl=ttl)


def _read_file(file: Path, cluster: str, clock: Callable[[], datetime], ttl: timedelta) -> SqliteReader | None:
    """Open a SQLite file, or return None where it is not a valid, current state."""
    try:
        connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    except sqlite3.Error:
        return None
    try:
        if _is_current(connection, file, cluster):
            return SqliteReader(connection, str(file), clock, ttl)
    except sqlite3.Error:
        pass
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None


def _is_current(connection: sqlite3.Connection, file: Path, cluster: str) -> bool:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    connection.execute("PRAGMA query_only = 1")
    connection.execute("BEGIN")
    try:
        if file.stat().st_size <= CHECKED and connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            return False
        found = connection.execute(f"SELECT version_num FROM {revisions.VERSION_TABLE}").fetchall()  # noqa: S608 - a constant
        owners = connection.execute("SELECT cluster FROM meta").fetchall()
    finally:
        connection.execute("ROLLBACK")
    return found == [(revisions.KNOWN[-1],)] and owners == [(cluster,)]


class SqliteReader:
    """A StateReader over one SQLite file. Threads may share it; each call sees one version of the state."""

    def __init__(
        self, connection: sqlite3.Connection, place: str, clock: Callable[[], datetime], ttl: timedelta
    ) -> None:
        self._connection = connection
        self._place = place
        self._clock = clock
        self._ttl = ttl
        self._turn = threading.Lock()

    def read(self, scope: Collection[SliceKey] | None = None) -> StateSnapshot:
        """Return the state with the resources of the slices in scope (None: of all) and of what slices share."""
        with self._reading("what it holds") as connection:
            meta = self._meta(connection)
            documents = connection.execute("SELECT slice, document FROM allocations ORDER BY slice")
            held = connection.execute("SELECT slice, kind, scope, value FROM claims WHERE held = 1")
            return StateSnapshot(
                lineage=meta.lineage,
                serial=meta.serial,
                counters=rows.counters(meta),
                allocations={key: decode_allocation(document) for key, document in documents},
                held=rows.held_claims(held),
                resources=dict(_resources(connection, scope)),
                cordoned=rows.cordons(_named(connection, "SELECT * FROM cordons")),
            )

    def marks(self, scope: Collection[SliceKey], apply: ApplyId) -> StateMarks:
        """Return the marks of those of these slices that the state has, and the start of an apply."""
        with self._reading("its history") as connection:
            meta = self._meta(connection)
            starts = _named(connection, "SELECT id, started FROM applies WHERE id IN (?, ?)", (apply, meta.applies))
            moved = _of_slices(connection, "SELECT key, moved FROM slices WHERE key IN", scope)
            return rows.marks(meta, starts, moved, apply)

    def history(self, limit: int = 20) -> tuple[HistoryEntry, ...]:
        """Return the latest applies, newest first."""
        with self._reading("its history") as connection:
            found = _named(connection, "SELECT * FROM applies ORDER BY id DESC LIMIT ?", (limit,))
            return tuple(map(rows.history_entry, found))

    def journal(self, apply: ApplyId) -> tuple[JournalEntry, ...]:
        """Return the steps that an apply attempted, in the order of their intents."""
        with self._reading("its journal") as connection:
            found = _named(connection, "SELECT * FROM journal WHERE apply = ? ORDER BY id", (apply,))
            return tuple(map(rows.journal_entry, found))

    def locks(self) -> tuple[Lock, ...]:
        """Return the locks that are held now, by name."""
        with self._reading("its locks") as connection:
            found = _named(connection, "SELECT * FROM locks ORDER BY name")
            return tuple(rows.lock(row, self._ttl) for row in found)

    def life(self, lock: Lock, observer: Holder) -> Life:
        """Estimate, for people, whether a lock's holder still works."""
        with self._reading("its locks") as connection:
            found = next(_named(connection, "SELECT * FROM locks WHERE token = ?", (lock.token,)), None)
            return rows.life(found, observer, self._clock())

    def orphans(self) -> tuple[SeenOrphan, ...]:
        """Return the orphans that were seen on hosts, by host and address."""
        with self._reading("its orphans") as connection:
            found = map(rows.seen_orphan, _named(connection, "SELECT * FROM orphans"))
            return tuple(sorted(found, key=lambda seen: seen.orphan))

    def cordons(self) -> dict[HostName, Cordon]:
        """Return the hosts that take no new VMs, by name."""
        with self._reading("its cordons") as connection:
            return rows.cordons(_named(connection, "SELECT * FROM cordons"))

    def check_plan(self, plan: Plan) -> None:
        """Raise StateMoved where the plan is stale; changes nothing."""
        with self._reading("what it holds") as connection:
            names = staleness.concerned(plan)
            moved = dict(_of_slices(connection, "SELECT key, moved FROM slices WHERE key IN", names))
            query = "SELECT slice, document FROM allocations WHERE slice IN"
            staleness.check(
                self._meta(connection), plan, moved, lambda: dict(_of_slices(connection, query, plan.slices))
            )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _meta(self, connection: sqlite3.Connection) -> Any:
        found = next(_named(connection, "SELECT * FROM meta"), None)
        if found is None:
            raise StateUnreadable(f"the state {self._place} is damaged: its first row is missing", hint=RESTORE)
        return found

    @contextmanager
    def _reading(self, what: str) -> Iterator[sqlite3.Connection]:
        with self._turn, mapped_sqlite(self._place):
            self._connection.execute("BEGIN")
            try:
                with decoding(self._place, what):
                    yield self._connection
            finally:
                self._connection.execute("ROLLBACK")


class EmptyReader:
    """A StateReader where there is no state yet."""

    def read(self, scope: Collection[SliceKey] | None = None) -> StateSnapshot:
        """Return an empty state, whose lineage is ""."""
        del scope
        return StateSnapshot(lineage="")

    def marks(self, scope: Collection[SliceKey], apply: ApplyId) -> StateMarks:
        """Return that there is no slice and no apply."""
        del scope, apply
        return StateMarks("", 0, {})

    def history(self, limit: int = 20) -> tuple[HistoryEntry, ...]:
        """Return nothing: there was no apply."""
        del limit
        return ()

    def journal(self, apply: ApplyId) -> tuple[JournalEntry, ...]:
        """Return nothing: there was no apply."""
        del apply
        return ()

    def locks(self) -> tuple[Lock, ...]:
        """Return nothing: no lock is held."""
        return ()

    def life(self, lock: Lock, observer: Holder) -> Life:
        """Return that the holder has ended: no lock is held."""
        del lock, observer
        return Life.ENDED

    def orphans(self) -> tuple[SeenOrphan, ...]:
        """Return nothing: no host was surveyed."""
        return ()

    def cordons(self) -> dict[HostName, Cordon]:
        """Return nothing: no host is cordoned."""
        return {}

    def check_plan(self, plan: Plan) -> None:
        """Raise StateMoved where the plan was made from a state."""
        empty = SimpleNamespace(lineage="", serial=0, shared_moved=0, given_moved=0)
        staleness.check(empty, plan, {}, dict)

    def close(self) -> None:
        """Do nothing."""


def _resources(
    connection: sqlite3.Connection, scope: Collection[SliceKey] | None
) -> Iterator[tuple[Address, ResourceState]]:
    query, keys = "SELECT address, slice, status, attributes, pending FROM resources", sorted(scope or ())
    if scope is not None and len(keys) <= CHUNK:
        query += f" WHERE slice IS NULL OR slice IN ({_marks(keys)})" if keys else " WHERE slice IS NULL"
    else:
        keys = []
    wanted = None if scope is None else frozenset(scope)
    for address, owner, *row in connection.execute(f"{query} ORDER BY address", keys):
        if wanted is None or owner is None or owner in wanted:
            yield address, rows.resource_state(*row)


def _of_slices(connection: sqlite3.Connection, query: str, keys: Iterable[SliceKey]) -> Iterator[tuple[SliceKey, Any]]:
    for some in chunks(keys):
        yield from connection.execute(f"{query} ({_marks(some)})", some)


def _marks(keys: Sequence[str]) -> str:
    return ", ".join("?" * len(keys))


def _named(connection: sqlite3.Connection, query: str, values: Sequence[object] = ()) -> Iterator[Any]:
    """Yield rows whose columns are attributes; times are in UTC."""
    cursor = connection.execute(query, values)
    names = tuple(column[0] for column in cursor.description)
    for row in cursor:
        yield SimpleNamespace(**{name: _value(name, value) for name, value in zip(names, row, strict=True)})


def _value(name: str, value: Any) -> Any:
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if value is not None and name in _TIMES else value
