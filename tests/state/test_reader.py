"""Reading a state without SQLAlchemy: what is imported, and which files are opened through SQLAlchemy instead."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.errors import StateError, StateUnreadable
from reconciler.spec.models.names import SliceKey
from reconciler.state.reader import EmptyReader, SqliteReader, read_state
from reconciler.state.sql.store import SqlStore
from reconciler.state.store import ApplyId, StateMarks
from tests.state.conftest import now, opened

SLOW = ("alembic", "psycopg", "sqlalchemy")
READ = """
import sys
from datetime import UTC, datetime
from reconciler.state.reader import read_state
reader = read_state(sys.argv[1], cluster="lab", clock=lambda: datetime.now(UTC))
print(reader.read().lineage, reader.history(), reader.locks(), reader.orphans())
reader.close()
print(*sys.modules, file=sys.stderr)
"""
PLAN = """
import atexit, sys
from reconciler.cli import main
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
main()
"""


def loaded(*argv: str, cwd: Path | None = None) -> set[str]:
    """Return the modules that a program has loaded, of those that are slow to import."""
    done = subprocess.run([sys.executable, "-c", *argv], cwd=cwd, check=True, capture_output=True, text=True)
    return set(done.stderr.splitlines()[-1].split()).intersection(SLOW)


@pytest.mark.parametrize("name", ["lab.db", "none.db"])
def test_reading_a_current_or_missing_file_imports_no_sql_library(file: Path, name: str) -> None:
    assert loaded(READ, str(file.with_name(name))) == set()


def test_a_plan_that_contacts_no_host_imports_no_sql_library(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "reconciler", "init"], cwd=tmp_path, check=True, capture_output=True)
    place = tmp_path / "state.db"
    with opened(place, (tmp_path / "cluster.yaml").read_text().split("name: ")[1].split()[0]):
        pass
    assert loaded(PLAN, "plan", "--state", str(place), cwd=tmp_path) == set()


def test_a_current_file_is_read_as_the_store_reads_it(file: Path) -> None:
    with opened(file) as store, closing(read_state(file, cluster="lab", clock=now)) as reader:
        assert isinstance(reader, SqliteReader)
        assert reader.read() == store.read()
        scope = [*store.read().allocations, SliceKey("nobody/none")]
        assert all(reader.marks(scope, ApplyId(one)) == store.marks(scope, ApplyId(one)) for one in (1, 99))


def test_where_there_is_no_state_none_is_created(tmp_path: Path) -> None:
    reader = read_state(tmp_path / "none" / "lab.db", cluster="lab", clock=now)
    assert isinstance(reader, EmptyReader)
    assert (reader.read().lineage, reader.history(), reader.locks(), reader.orphans()) == ("", (), (), ())
    assert reader.marks([SliceKey("nobody/none")], ApplyId(1)) == StateMarks("", 0, {})
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_an_older_schema_is_upgraded_first(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DROP TABLE orphans")
        connection.execute("DROP TABLE cordons")
        connection.execute("ALTER TABLE applies DROP COLUMN verb")
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    with closing(read_state(file, cluster="lab", clock=now)) as reader:
        assert isinstance(reader, SqlStore)
        assert reader.orphans() == ()


def test_the_reader_cannot_write(file: Path) -> None:
    reader = read_state(file, cluster="lab", clock=now)
    assert isinstance(reader, SqliteReader)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM meta")
    reader.close()


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "created by a newer version"),
        ("DROP TABLE alembic_version", "its version is missing"),
        ("UPDATE meta SET cluster = 'prod'", "is of cluster prod, not of lab"),
        ("DROP TABLE allocations", "is damaged: no such table"),
        ("INSERT INTO allocations VALUES ('a/b', '{}')", "is damaged: what it holds cannot be read"),
        ("INSERT INTO resources VALUES ('a', 'vm', 'a/b', 'h', 'odd', '{}', NULL, 0)", "is damaged"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_with_the_reason(file: Path, statement: str, reason: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement)

    def read() -> None:
        with closing(read_state(file, cluster="lab", clock=now)) as reader:
            reader.read()

    with pytest.raises(StateUnreadable, match=reason):
        read()


def test_other_urls_are_refused() -> None:
    with pytest.raises(StateError, match="cannot hold a state"):
        read_state("mysql://host/db", cluster="lab", clock=now)
