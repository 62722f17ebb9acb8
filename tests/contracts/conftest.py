"""The databases that the state contract holds on: SQLite files, and a PostgreSQL server that is started here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.state.sql.store import SqlStore, open_store
from tests.contracts.postgres import data_folder, empty_schema, server


class Clock:
    """A clock that moves one second each time it is read, from a moment that the sentences of tests can quote."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 22, 8, 1, 11, tzinfo=UTC)

    def __call__(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


@dataclass(frozen=True)
class Database:
    """A place for one record, which can be opened again and again."""

    where: str

    def open(self, *, cluster: str = "lab", read_only: bool = False) -> SqlStore:
        return open_store(self.where, cluster=cluster, clock=Clock(), read_only=read_only)


@pytest.fixture(scope="session")
def postgres_port(postgres_allowed: None) -> Iterator[int]:
    """Start a PostgreSQL server on a free port of the loopback, and stop it by its PID."""
    with data_folder() as folder, server(folder) as running:
        yield running.port


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """Return a place where no record is yet."""
    if request.param == "sqlite":
        return Database(f"sqlite:///{tmp_path}/record.db")
    return Database(empty_schema(request.getfixturevalue("postgres_port")))


@pytest.fixture
def opened(database: Database) -> Iterator[Callable[[], SqlStore]]:
    """Open the record as often as a test wants; all are closed at its end."""
    stores: list[SqlStore] = []

    def again() -> SqlStore:
        stores.append(database.open())
        return stores[-1]

    yield again
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[[], SqlStore]) -> SqlStore:
    """Open a record in which nothing has happened."""
    return opened()
