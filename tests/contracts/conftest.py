"""The databases that the state contract holds on: SQLite files, and a PostgreSQL server that is started here."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from time import monotonic, sleep

import psycopg
import pytest

from reconciler.state.sql import SqlStore, open_store

_PROGRAMS = Path("/usr/lib/postgresql/15/bin")
"""Where Debian 12 keeps the server's programs; they are on nobody's PATH."""

_START_SECONDS = 30.0
_NAMES = count(1)


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
def postgres_port() -> Iterator[int]:
    """Start a PostgreSQL server on a free port of the loopback, and stop it by its PID."""
    if os.environ.get("RECONCILER_SKIP_POSTGRES") == "1" and os.environ.get("CI") != "true":
        pytest.skip("RECONCILER_SKIP_POSTGRES is set")
    if not (_PROGRAMS / "initdb").exists():
        pytest.fail("PostgreSQL 15 is missing: run make setup, or set RECONCILER_SKIP_POSTGRES=1")
    folder = Path(tempfile.mkdtemp(prefix="reconciler-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        initdb = [str(_PROGRAMS / "initdb"), "-D", f"{folder}/data", "-A", "trust", "-U", "postgres", "-N"]
        subprocess.run(_as_its_user(initdb), check=True, capture_output=True, cwd=folder)
        with _server(folder) as port:
            yield port
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """Return a place where no record is yet."""
    if request.param == "sqlite":
        return Database(f"sqlite:///{tmp_path}/record.db")
    return Database(empty_schema(request.getfixturevalue("postgres_port")))


def empty_schema(postgres_port: int) -> str:
    """Make a schema of its own on the server, and return its URL."""
    schema = f"record_{next(_NAMES)}"
    with psycopg.connect(f"host=127.0.0.1 port={postgres_port} user=postgres dbname=postgres") as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    return f"postgresql://postgres@127.0.0.1:{postgres_port}/postgres?options=-csearch_path%3D{schema}"


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


@contextmanager
def _server(folder: Path) -> Iterator[int]:
    """Run a server on the data in `folder`, and yield its port."""
    port = _free_port()
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder), "fsync": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = _as_its_user([str(_PROGRAMS / "postgres"), "-D", f"{folder}/data", "-p", str(port), *options])
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        try:
            _await(port, process)
            yield port
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown: clients are cut off


def _as_its_user(command: list[str]) -> list[str]:
    """Run as the user that Debian's package made, for the server refuses to run as root."""
    if os.geteuid() != 0:
        return command
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--", *command]


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=postgres").close()
        except psycopg.OperationalError:
            if process.poll() is not None or monotonic() > deadline:
                pytest.fail("the PostgreSQL server did not start")
            sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
