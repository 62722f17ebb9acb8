"""Opening a state: where it is made, for whose eyes, and when it is refused rather than read as empty."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from reconciler.errors import StateError, StateUnreadable
from reconciler.state import migrations, revisions
from reconciler.state.location import default_place
from reconciler.state.sql import schema
from reconciler.state.sql.store import open_store
from tests.state.conftest import ANNA, now, opened

ROOT = Path(__file__).parents[2]


def change(file: Path, statement: str) -> None:
    """Change a state behind the store's back."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement)


def other_process_takes_a_turn(file: Path) -> int:
    """Open a state in a process of its own, write to it once, and close it."""
    program = (
        "import sys; from tests.state.conftest import opened\n"
        "with opened(sys.argv[1]) as store: print(store.take_turn(lambda turn: turn + 1))"
    )
    argv = [sys.executable, "-c", program, str(file)]
    return int(subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


class TestMaking:
    def test_only_the_owner_may_read_the_file_and_its_folders(self, tmp_path: Path) -> None:
        place = tmp_path / "state" / "deep" / "lab.db"
        mask = os.umask(0)
        try:
            with opened(place) as store, store.lock(["alice/lab1"], ANNA):
                modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.parent.iterdir()}
        finally:
            os.umask(mask)
        assert set(modes) == {"lab.db", "lab.db-wal", "lab.db-shm"}
        assert set(modes.values()) == {0o600}
        for folder in (place.parent, place.parent.parent):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_nothing_is_left_beside_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "state" / "lab.db"
        with opened(file) as store, store.lock(["alice/lab1"], ANNA):
            pass
        assert [path.name for path in file.parent.iterdir()] == ["lab.db"]

    def test_every_write_is_synced_to_a_log_of_writes(self, tmp_path: Path) -> None:
        with opened(tmp_path / "lab.db") as store, store._engine.connect() as connection:
            pragmas = ("journal_mode", "synchronous", "foreign_keys")
            found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in pragmas]
        assert found == ["wal", 2, 1]

    @pytest.mark.slow
    def test_opening_it_again_keeps_the_locks_of_other_connections(self, file: Path) -> None:
        with opened(file) as store:
            store.take_turn(lambda turn: turn + 1)
            with opened(file):
                pass
            assert other_process_takes_a_turn(file) == 1
            log = file.with_name("lab.db-wal")
            assert log.exists(), "another process took this one's connection for closed, and cleared the log away"
            assert store.take_turn(lambda turn: turn + 1) == 2
            assert other_process_takes_a_turn(file) == 3

    def test_reading_where_no_state_is_makes_none(self, tmp_path: Path) -> None:
        with opened(tmp_path / "none" / "lab.db", read_only=True) as store:
            assert store.read().lineage == ""
            assert store.history() == ()
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "taken").write_text("a file")
        with pytest.raises(StateError, match=r"taken/lab\.db cannot be"):
            open_store(tmp_path / "taken" / "lab.db", cluster="lab", clock=now)

    def test_a_database_of_today_is_opened_without_alembic(self, file: Path) -> None:
        script = (
            "import sys; from datetime import UTC, datetime; from reconciler.state.sql.store import open_store;"
            "open_store(sys.argv[1], cluster='lab', clock=lambda: datetime.now(UTC)).read();"
            "print('alembic' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", script, str(file)], check=True, capture_output=True, text=True)
        assert done.stdout == "False\n"

    def test_the_seam_is_light(self) -> None:
        script = "import sys, reconciler.state.store; print('sqlalchemy' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        assert done.stdout == "False\n"


class TestPlaces:
    def test_each_cluster_has_its_own_by_default(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        assert default_place("lab") == tmp_path / "reconciler" / "lab.db"
        assert default_place("../lab").parent == tmp_path / "reconciler"

    def test_a_path_and_its_url_are_one_place(self, file: Path) -> None:
        with opened(file) as one, opened(f"sqlite:///{file}") as other, opened(str(file)) as third:
            assert one.read() == other.read() == third.read()

    def test_a_place_stays_where_it_is_when_the_working_folder_changes(
        self, monkeypatch: pytest.MonkeyPatch, file: Path
    ) -> None:
        monkeypatch.chdir(file.parent)
        with opened("lab.db") as one, opened("sqlite:///lab.db") as other:
            monkeypatch.chdir("/")
            with opened(file) as third:
                assert one.read() == other.read() == third.read()

    @pytest.mark.parametrize(
        "url",
        [
            "mysql://host/db",
            "sqlite://",
            "sqlite:///:memory:",
            "sqlite:///x.db?mode=ro",
            "postgresql://host:port/x",
            "http://x",
        ],
    )
    def test_other_urls_are_refused(self, url: str) -> None:
        with pytest.raises(StateError) as caught:
            open_store(url, cluster="lab", clock=now)
        assert caught.value.hint == "write a path, sqlite:///PATH, or postgresql://USER@HOST/DATABASE"

    def test_a_server_that_does_not_answer_is_an_error_without_its_password(self) -> None:
        with pytest.raises(StateError, match="cannot be used") as caught:
            open_store("postgresql://anna:hunter2@127.0.0.1:1/record", cluster="lab", clock=now)
        assert "hunter2" not in caught.value.summary + str(caught.value.hint)


class TestDamage:
    def test_a_truncated_state_is_refused(self, file: Path) -> None:
        whole = file.read_bytes()
        for size in (0, 10, 100, 4096, len(whole) // 2, len(whole) - 4096):
            file.write_bytes(whole[:size])
            for read_only in (False, True):
                with pytest.raises(StateUnreadable, match="is damaged"), opened(file, read_only=read_only) as store:
                    store.read()

    def test_a_log_without_its_state_is_refused(self, file: Path) -> None:
        file.rename(file.with_name("lab.db-wal"))
        for read_only in (False, True):
            with pytest.raises(StateUnreadable, match=r"lab\.db-wal is still beside it"):
                open_store(file, cluster="lab", clock=now, read_only=read_only)
        assert [path.name for path in file.parent.iterdir()] == ["lab.db-wal"]

    def test_garbage_is_refused(self, file: Path) -> None:
        for garbage in (b"\0" * 8192, b"version: 1\n", os.urandom(8192)):
            file.write_bytes(garbage)
            with pytest.raises(StateUnreadable, match="is damaged"), opened(file):
                pytest.fail("garbage was read")
            assert file.read_bytes() == garbage

    def test_a_page_of_garbage_is_refused(self, file: Path) -> None:
        whole = bytearray(file.read_bytes())
        whole[4096:] = b"\xff" * (len(whole) - 4096)
        file.write_bytes(whole)
        with pytest.raises(StateUnreadable, match="is damaged"), opened(file) as store:
            store.read()

    def test_a_folder_is_no_state(self, tmp_path: Path) -> None:
        with pytest.raises(StateError, match="cannot be opened"):
            open_store(tmp_path, cluster="lab", clock=now)

    def test_a_database_of_something_else_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "other.db"
        change(file, "CREATE TABLE songs (name)")
        with pytest.raises(StateUnreadable, match="not a reconciler state database"), opened(file):
            pytest.fail("it was taken for a state")

    @pytest.mark.parametrize(
        ("statement", "reason"),
        [
            ("UPDATE alembic_version SET version_num = '9999'", "created by a newer version .its schema is 9999"),
            ("DELETE FROM alembic_version", "is damaged: it has 0 versions"),
            ("DROP TABLE alembic_version", "is damaged: its version is missing"),
            ("DELETE FROM meta", "is damaged: its cluster is missing"),
            ("DROP TABLE allocations", "is damaged: no such table"),
            ("UPDATE meta SET cluster = 'prod'", "is of cluster prod, not of lab"),
            ("INSERT INTO slices VALUES ('a/b', 0, 0)", ""),
            ("INSERT INTO allocations VALUES ('a/b', '{}')", "is damaged: what it holds cannot be read"),
            ("INSERT INTO allocations VALUES ('a/b', '{\"id\":')", "is damaged: what it holds cannot be read"),
            ("INSERT INTO resources VALUES ('a', 'vm', 'a/b', 'h', 'odd', '{}', NULL, 0)", "is damaged"),
            ("INSERT INTO resources VALUES ('a', 'vm', 'a/b', 'h', 'present', '[]', NULL, 0)", "is damaged"),
        ],
    )
    def test_an_edited_state_is_refused_with_the_reason(self, file: Path, statement: str, reason: str) -> None:
        change(file, statement)
        if not reason:
            with opened(file) as store:
                assert store.read().allocations == {}
            return
        with pytest.raises(StateUnreadable, match=reason), opened(file) as store:
            store.read()

    def test_a_refused_state_is_left_as_it_was(self, file: Path) -> None:
        change(file, "UPDATE alembic_version SET version_num = '9999'")
        before = file.read_bytes()
        with pytest.raises(StateUnreadable), opened(file):
            pytest.fail("it was opened")
        assert file.read_bytes() == before

    def test_a_state_is_of_one_cluster(self, file: Path) -> None:
        with pytest.raises(StateUnreadable, match="is of cluster lab, not of prod"), opened(file, "prod"):
            pytest.fail("it was opened for another cluster")


class TestWriting:
    def test_a_full_disk_keeps_the_old_state_whole(self, file: Path) -> None:
        with opened(file) as store:
            before = store.read()
            with store._engine.connect() as connection:
                pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
                connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            names = [f"alice/{number:0200}" for number in range(400)]
            with pytest.raises(StateError, match="full") as caught, store.lock(names, ANNA):
                pytest.fail("there was room")
            assert caught.value.hint == "make room on the disk; nothing was partly written"
            assert store.read() == before
            assert store.locks() == ()


class TestSchema:
    def test_the_known_revisions_are_those_of_the_migrations(self) -> None:
        engine = create_engine("sqlite://")
        with engine.connect() as connection:
            scripts = ScriptDirectory.from_config(migrations.configuration(connection))
            known = [script.revision for script in scripts.walk_revisions()]
        engine.dispose()
        assert tuple(reversed(known)) == revisions.KNOWN

    def test_the_migrations_make_the_schema_that_queries_use(self, file: Path) -> None:
        with opened(file) as store, store._engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, schema.metadata) == []
