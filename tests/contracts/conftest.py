"""The databases of the state contract: SQLite files, also read without SQLAlchemy, and a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.plan.model import Plan
from reconciler.plan.snapshot import Cordon, StateSnapshot
from reconciler.spec.models.names import HostName, SliceKey
from reconciler.state.locks.ttl import TTL
from reconciler.state.reader import EmptyReader, SqliteReader, read_state
from reconciler.state.sql.store import SqlStore, open_store
from reconciler.state.store import (
    ApplyId,
    HistoryEntry,
    Holder,
    JournalEntry,
    Life,
    Lock,
    SeenOrphan,
    StateReader,
)
from tests.contracts.postgres import data_folder, empty_schema, server
from tests.fresh import make_state


class Clock:
    """A clock that moves one second each time it is read, from a time that tests can quote."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 22, 8, 1, 11, tzinfo=UTC)

    def __call__(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


class ReadThrough(SqlStore):
    """A store that is read by the reader of verbs that only read, and written as usual."""

    reader: StateReader

    def read(self, scope: Collection[SliceKey] | None = None) -> StateSnapshot:
        return self.reader.read(scope)

    def history(self, limit: int = 20) -> tuple[HistoryEntry, ...]:
        return self.reader.history(limit)

    def journal(self, apply: ApplyId) -> tuple[JournalEntry, ...]:
        return self.reader.journal(apply)

    def locks(self) -> tuple[Lock, ...]:
        return self.reader.locks()

    def cordons(self) -> Mapping[HostName, Cordon]:
        return self.reader.cordons()

    def life(self, lock: Lock, observer: Holder) -> Life:
        return self.reader.life(lock, observer)

    def orphans(self) -> tuple[SeenOrphan, ...]:
        return self.reader.orphans()

    def check_plan(self, plan: Plan) -> None:
        self.reader.check_plan(plan)

    def close(self) -> None:
        self.reader.close()
        super().close()


@dataclass(frozen=True)
class Database:
    """A place for one state, which can be opened again and again."""

    where: str
    read_through: bool = False

    def open(self, *, cluster: str = "lab", read_only: bool = False) -> SqlStore:
        clock = Clock()
        if not read_only:
            self.prepare(cluster)
        store = open_store(self.where, cluster=cluster, clock=clock, read_only=read_only)
        if not self.read_through:
            return store
        through = ReadThrough(store._engine, store._place, clock, read_only=read_only, ttl=TTL)
        through.reader = read_state(self.where, cluster=cluster, clock=clock)
        assert isinstance(through.reader, SqliteReader if store.read().lineage else EmptyReader)
        return through

    def prepare(self, cluster: str = "lab") -> None:
        """Make an empty state quickly, where a SQLite file is still missing."""
        if self.where.startswith("sqlite:///"):
            make_state(Path(self.where.removeprefix("sqlite:///")), cluster)


@pytest.fixture(scope="session")
def postgres_port(postgres_allowed: None) -> Iterator[int]:
    """Start a PostgreSQL server on a free port of the loopback, and stop it by its PID."""
    with data_folder() as folder, server(folder) as running:
        yield running.port


@pytest.fixture(params=["sqlite", "sqlite-reader", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """Return a place that has no state yet."""
    if request.param != "postgresql":
        return Database(f"sqlite:///{tmp_path}/state.db", read_through=request.param == "sqlite-reader")
    return Database(empty_schema(request.getfixturevalue("postgres_port")))


@pytest.fixture
def opened(database: Database) -> Iterator[Callable[[], SqlStore]]:
    """Open the state as often as a test wants; all are closed at its end."""
    stores: list[SqlStore] = []

    def again() -> SqlStore:
        stores.append(database.open())
        return stores[-1]

    yield again
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[[], SqlStore]) -> SqlStore:
    """Open a new state."""
    return opened()
