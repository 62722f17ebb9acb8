"""Opens the database of a state: creates it, upgrades its schema, and refuses another cluster's."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import URL, Connection, Engine, func, insert, inspect, select

from reconciler.errors import StateUnreadable
from reconciler.plan.snapshot import Counters
from reconciler.state import copies, location, mounts, reader, revisions
from reconciler.state.faults import RESTORE
from reconciler.state.sql import schema
from reconciler.state.sql.connection import connect, reading, writing
from reconciler.state.sql.faults import mapped
from reconciler.state.sql.url import file_of, name_of

_CREATING = 0x7265636F
"""The advisory lock under which PostgreSQL clients create or upgrade tables ("reco" in ASCII)."""


def open_engine(url: URL, cluster: str, *, read_only: bool) -> Engine:
    """Return an engine on the state of this cluster, with the newest schema.

    Where there is no state, it is created, unless `read_only`: then the engine is on an empty one in memory, whose
    lineage is "". Raises StateUnreadable for one that is damaged, newer, or of another cluster; StateError for one that
    does not answer.
    """
    file = file_of(url)
    if file is not None:
        mounts.refuse_network(file)
    if file is not None and location.is_missing(file):
        if read_only:
            return empty_engine(cluster)
        _make_file(file, cluster)
    if file is not None:
        location.inspect(file)
    engine = connect(url, read_only=read_only)
    try:
        return _checked(engine, url, cluster, read_only=read_only)
    except BaseException:
        engine.dispose()
        raise


def _checked(engine: Engine, url: URL, cluster: str, *, read_only: bool) -> Engine:
    name = name_of(url)
    file = file_of(url)
    with mapped(name):
        with reading(engine) as connection:
            if file is not None and (not read_only or file.stat().st_size <= reader.CHECKED):
                _check_pages(connection, name)
            found = _revision(connection, name)
        if found is None and read_only:
            engine.dispose()
            return empty_engine(cluster)
        if found != revisions.KNOWN[-1]:
            _migrate(url, name, cluster)
        with reading(engine) as connection:
            _check_owner(connection, name, cluster)
    return engine


def _check_pages(connection: Connection, name: str) -> None:
    """Raise StateUnreadable where the pages of a SQLite file are inconsistent."""
    found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
    if found != "ok":
        reported = " ".join(found.replace("*** in database main ***", "").split())
        raise StateUnreadable(f"the state {name} is damaged: {reported}", hint=RESTORE)


def _migrate(url: URL, name: str, cluster: str) -> None:
    """Upgrade the schema through a connection of its own: a reader may not write, and needs the new schema too."""
    engine = connect(url)
    try:
        with writing(engine) as connection:
            _upgrade(connection, name, cluster, file_of(url))
    finally:
        engine.dispose()


def _make_file(file: Path, cluster: str) -> None:
    """Create a state beside its place, then publish it: no other process sees it incomplete."""
    fresh = location.reserve(file)
    try:
        engine = connect(URL.create("sqlite", database=str(fresh)))
        with mapped(str(file)):
            try:
                with writing(engine) as connection:
                    _upgrade(connection, str(file), cluster)
            finally:
                engine.dispose()
        location.publish(fresh, file)
    finally:
        with suppress(OSError):
            location.discard(fresh)


def empty_engine(cluster: str) -> Engine:
    """Return an engine on an empty state in memory, whose lineage is ""."""
    engine = connect(URL.create("sqlite"))
    with writing(engine) as connection:
        schema.metadata.create_all(connection)
        connection.execute(insert(schema.meta), _first(cluster, lineage=""))
    return engine


def _upgrade(connection: Connection, name: str, cluster: str, file: Path | None = None) -> None:
    """Run the migrations that are missing, unless another process did so meanwhile.

    A SQLite file that holds a state is copied first, to NAME.before-REVISION beside it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_CREATING)))
    found = _revision(connection, name)
    if found == revisions.KNOWN[-1]:
        return
    if file is not None and found is not None:
        copies.copy_database(file, file.with_name(f"{file.name}.before-{revisions.KNOWN[-1]}"))
    from reconciler.state import migrations  # noqa: PLC0415 - alembic takes longer to import than a plan to make

    migrations.upgrade(connection)
    if found is None:
        connection.execute(insert(schema.meta), _first(cluster, lineage=str(uuid4())))


def _revision(connection: Connection, name: str) -> str | None:
    """Return the revision of a database, None where it is new; raises StateUnreadable where it is not a state."""
    tables = set(inspect(connection).get_table_names())
    if revisions.VERSION_TABLE not in tables:
        if tables & set(schema.metadata.tables):
            raise StateUnreadable(f"the state {name} is damaged: its version is missing", hint=RESTORE)
        if tables and connection.dialect.name == "sqlite":
            raise StateUnreadable(f"{name} is not a reconciler state database", hint="name another place with --state")
        return None
    found: list[str] = list(connection.execute(select(schema.version.c.version_num)).scalars())
    if len(found) != 1:
        raise StateUnreadable(f"the state {name} is damaged: it has {len(found)} versions", hint=RESTORE)
    if found[0] not in revisions.KNOWN:
        raise StateUnreadable(
            f"the state {name} was created by a newer version (its schema is {found[0]}, "
            f"this version knows up to {revisions.KNOWN[-1]})",
            hint="upgrade topology-reconciler",
        )
    return found[0]


def _check_owner(connection: Connection, name: str, cluster: str) -> None:
    owners = connection.execute(select(schema.meta.c.cluster)).scalars().all()
    if len(owners) != 1:
        raise StateUnreadable(f"the state {name} is damaged: its cluster is missing", hint=RESTORE)
    if owners[0] != cluster:
        raise StateUnreadable(
            f"the state {name} is of cluster {owners[0]}, not of {cluster}",
            hint="name the state of this cluster with --state, or that cluster's file with --cluster",
        )


def _first(cluster: str, *, lineage: str) -> dict[str, Any]:
    counters = Counters()
    return {
        "id": 1,
        "lineage": lineage,
        "cluster": cluster,
        "serial": 0,
        "shared_moved": 0,
        "given_moved": 0,
        "slice_id": counters.slice_id,
        "vm_id": counters.vm_id,
        "link_id": counters.link_id,
        "turn": counters.turn,
        "applies": 0,
        "token": 0,
    }
