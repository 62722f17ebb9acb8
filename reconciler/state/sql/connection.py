"""Opens connections and transactions, with the same guarantees on SQLite and PostgreSQL.

A write first takes the lock that excludes every other write: SQLite's one write lock, or on PostgreSQL the `meta` row,
which the store selects for update. A read sees one version of the state.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from reconciler.errors import StateError
from reconciler.spec.quoting import did_you_mean, shown
from reconciler.state.reader import BUSY_TIMEOUT
from reconciler.state.sql.url import masked

_THRESHOLD: Final = "prepare_threshold"
"""A parameter of psycopg: after how many uses a statement is prepared. It has no effect: statements never are."""


def connect(url: URL, *, read_only: bool = False) -> Engine:
    """Return an engine for a database; nothing is opened yet. With `read_only`, SQLite refuses every write."""
    if url.get_backend_name() != "sqlite":
        _refuse_unknown_parameters(url)
        url = url.difference_update_query([_THRESHOLD])
        # An apply may outlast an idle connection. A pooler such as PgBouncer gives each transaction another connection,
        # which knows no statement that was prepared on the last one.
        return create_engine(url, pool_pre_ping=True, connect_args={_THRESHOLD: None})
    in_memory = url.database is None
    # The one connection of a database in memory is used by one thread after the other.
    one = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    engine = create_engine(url, **one) if in_memory else create_engine(url)
    _prepare_sqlite(engine, query_only=read_only and not in_memory)
    return engine


def _refuse_unknown_parameters(url: URL) -> None:
    """Raise StateError for a parameter of a PostgreSQL URL that its client library does not know."""
    from psycopg.pq import Conninfo  # noqa: PLC0415 - only for PostgreSQL

    known = [option.keyword.decode() for option in Conninfo.get_defaults()]
    for name in url.query:
        if name not in known and name != _THRESHOLD:
            raise StateError(
                f"{masked(url)} has the unknown parameter {shown(name)}",
                hint=did_you_mean(name, known, else_list=False) or "libpq's documentation lists the parameters",
            )


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Yield a connection that sees one version of the database, and writes nothing."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        connection.execution_options(reading=True)
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Yield a connection whose writes are all kept, also through a crash, or none if the block raises."""
    with engine.begin() as connection:
        yield connection


def _prepare_sqlite(engine: Engine, *, query_only: bool) -> None:
    """Begin transactions explicitly: sqlite3's legacy mode begins them late, and never immediately."""

    @event.listens_for(engine, "connect")
    def on_connect(raw: Any, _record: Any) -> None:
        raw.isolation_level = None
        raw.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
        if not query_only:
            raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = FULL")
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute(f"PRAGMA query_only = {int(query_only)}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
