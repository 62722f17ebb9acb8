"""A PostgreSQL server that tests start, stop by its PID, and start again on what it kept."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic, sleep

import psycopg
import pytest

_PROGRAMS = Path("/usr/lib/postgresql/15/bin")
"""Where Debian 12 keeps the server's programs; they are on no PATH."""

_START_SECONDS = 30.0
_NAMES = count(1)


@dataclass(frozen=True)
class Server:
    """A server that runs: its port on the loopback, and the process that all its others descend from."""

    port: int
    pid: int


@contextmanager
def data_folder() -> Iterator[Path]:
    """Make a folder with an empty database, for a server to run on."""
    if not (_PROGRAMS / "initdb").exists():
        pytest.fail("PostgreSQL 15 is missing: run make setup, or set RECONCILER_SKIP_POSTGRES=1")
    folder = Path(tempfile.mkdtemp(prefix="reconciler-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        initdb = [str(_PROGRAMS / "initdb"), "-D", f"{folder}/data", "-A", "trust", "-U", "postgres", "-N"]
        subprocess.run(as_its_user(initdb), check=True, capture_output=True, cwd=folder)
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def server(folder: Path, port: int | None = None) -> Iterator[Server]:
    """Run a server on the data in `folder`, on a free port of the loopback where none is given."""
    port = port or free_port()
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder), "fsync": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = as_its_user([str(_PROGRAMS / "postgres"), "-D", f"{folder}/data", "-p", str(port), *options])
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        try:
            _await(port, process)
            yield Server(port, process.pid)
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown: clients are cut off


def as_its_user(command: list[str]) -> list[str]:
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


def free_port() -> int:
    """Return a port of the loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def empty_schema(postgres_port: int) -> str:
    """Make a schema of its own on the server, and return its URL."""
    schema = f"state_{next(_NAMES)}"
    with psycopg.connect(f"host=127.0.0.1 port={postgres_port} user=postgres dbname=postgres") as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    return f"postgresql://postgres@127.0.0.1:{postgres_port}/postgres?options=-csearch_path%3D{schema}"
