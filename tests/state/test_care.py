"""Care for a state's file: the copy before a migration, the check of its pages, and the file systems it may be on."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from reconciler.errors import StateError, StateUnreadable
from reconciler.state import migrations, mounts, reader, revisions
from reconciler.state.copies import copy_database, keep, write_private
from reconciler.state.sql.store import open_store
from tests.state.conftest import ANNA, opened

NEXT = "9000"
GOOD = 'op.create_table("songs", sa.Column("name", sa.Text))'
BAD = f"{GOOD}\n    op.execute('CREATE TABLE nonsense')"


def ask(file: Path, question: str) -> object:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(question).fetchone()[0]


def newer_version(folder: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """Go on as a version of the program with one migration more."""
    scripts = folder / "migrations"
    shutil.copytree(migrations.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    script = f"""
import sqlalchemy as sa
from alembic import op
revision, down_revision = {NEXT!r}, {revisions.KNOWN[-1]!r}
def upgrade():
    {change}
"""
    (scripts / "versions" / "r9000.py").write_text(script)
    monkeypatch.setattr(migrations, "SCRIPTS", scripts)
    monkeypatch.setattr(revisions, "KNOWN", (*revisions.KNOWN, NEXT))


class TestMigrating:
    @pytest.mark.parametrize("read_only", [False, True], ids=["to write", "to read"])
    def test_the_file_is_copied_before_its_schema_changes(
        self, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, read_only: bool
    ) -> None:
        old = revisions.KNOWN[-1]
        newer_version(tmp_path, monkeypatch, GOOD)
        with opened(file, read_only=read_only) as store:
            assert store.read().lineage != ""
        copy = file.with_name(f"lab.db.before-{NEXT}")
        assert sorted(path.name for path in file.parent.iterdir()) == ["lab.db", copy.name]
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        question = "SELECT version_num FROM alembic_version"
        assert (ask(file, question), ask(copy, question)) == (NEXT, old)
        assert ask(copy, "SELECT token FROM meta") == 1
        assert ask(copy, "SELECT count(*) FROM sqlite_schema WHERE name = 'songs'") == 0

    def test_the_copy_takes_the_place_of_the_state(
        self, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with opened(file) as store:
            lineage = store.read().lineage
        with monkeypatch.context() as newer:
            newer_version(tmp_path, newer, GOOD)
            with opened(file):
                pass
        with pytest.raises(StateUnreadable, match="created by a newer version"), opened(file):
            pytest.fail("it was opened")
        file.with_name(f"lab.db.before-{NEXT}").replace(file)
        with opened(file) as store:
            assert store.read().lineage == lineage

    def test_a_migration_that_fails_leaves_the_old_state(
        self, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        newer_version(tmp_path, monkeypatch, BAD)
        with pytest.raises(StateError, match="cannot be used") as caught, opened(file):
            pytest.fail("it was opened")
        assert isinstance(caught.value.__cause__, OperationalError)
        monkeypatch.undo()
        with opened(file) as store:
            assert store.locks() == ()

    def test_a_state_of_the_first_schema_is_brought_up_to_date(self, tmp_path: Path) -> None:
        file = tmp_path / "old.db"
        with opened(file) as store:
            lineage = store.read().lineage
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("DROP TABLE orphans")
            connection.execute("DROP TABLE cordons")
            connection.execute("ALTER TABLE applies DROP COLUMN verb")
            connection.execute("UPDATE alembic_version SET version_num = '0001'")
        with opened(file) as store:
            assert (store.read().lineage, store.orphans(), store.cordons()) == (lineage, (), {})
        copy = file.with_name("old.db.before-0004")
        assert ask(copy, "SELECT version_num FROM alembic_version") == "0001"
        assert ask(copy, "SELECT lineage FROM meta") == lineage

    def test_a_new_state_has_no_copy(self, file: Path) -> None:
        assert [path.name for path in file.parent.iterdir()] == ["lab.db"]

    def test_without_a_copy_nothing_is_migrated(
        self, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        newer_version(tmp_path, monkeypatch, GOOD)
        file.with_name(f"lab.db.before-{NEXT}").mkdir()
        with pytest.raises(StateError, match=rf"before-{NEXT} cannot be written: Is a directory"), opened(file):
            pytest.fail("it was opened")
        assert ask(file, "SELECT version_num FROM alembic_version") != NEXT


class TestChecking:
    @pytest.mark.parametrize("read_only", [False, True], ids=["to write", "to read"])
    def test_a_page_that_no_query_meets_is_noticed(self, file: Path, *, read_only: bool) -> None:
        with closing(sqlite3.connect(file)) as connection:
            size = connection.execute("PRAGMA page_size").fetchone()[0]
            query = "SELECT rootpage FROM sqlite_schema WHERE name = 'journal_apply_step'"
            page = connection.execute(query).fetchone()[0]
        with file.open("r+b") as stream:
            stream.seek((page - 1) * size)
            stream.write(b"\xff" * 64)
        with pytest.raises(StateUnreadable, match=r"the state .* is damaged"), opened(file, read_only=read_only):
            pytest.fail("it was opened")

    def test_a_large_file_is_checked_only_before_it_is_written(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_schema SET rootpage = 3 WHERE name = 'journal_apply_step'")
            connection.commit()
        monkeypatch.setattr(reader, "CHECKED", 0)
        with opened(file, read_only=True) as store:
            assert store.locks() == ()
        with pytest.raises(StateUnreadable, match="is damaged"), opened(file):
            pytest.fail("it was opened")


class TestMounts:
    LINE = "36 27 0:50 / {point} rw,relatime shared:1 - {kind} server:/export rw\n"

    @pytest.fixture
    def mounted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Return a file that lists mounts, and is believed."""
        listing = tmp_path / "mountinfo"
        listing.write_text(self.LINE.format(point="/", kind="ext4"))
        monkeypatch.setattr(mounts, "MOUNTS", listing)
        return listing

    @pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.glusterfs", "ceph"])
    def test_a_state_is_not_made_on_a_network(self, mounted: Path, tmp_path: Path, kind: str) -> None:
        with mounted.open("a") as listing:
            listing.write(self.LINE.format(point=f"{tmp_path}/team\\040share", kind=kind))
        where = tmp_path / "team share"
        for read_only in (False, True):
            with pytest.raises(StateError, match="is a network file system") as caught:
                open_store(where / "lab.db", cluster="lab", clock=datetime.now, read_only=read_only)
            assert f"{where} is a network file system ({kind}), and SQLite's write-ahead log" in caught.value.summary
            assert "PostgreSQL" in (caught.value.hint or "")
        assert not where.exists()

    @pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk"])
    def test_local_disks_are_fine(self, mounted: Path, tmp_path: Path, kind: str) -> None:
        mounted.write_text(self.LINE.format(point="/", kind="nfs") + self.LINE.format(point=tmp_path, kind=kind))
        with opened(tmp_path / "lab.db") as store:
            assert store.read().serial == 0

    def test_the_mount_on_top_counts_and_links_are_followed(self, mounted: Path, tmp_path: Path) -> None:
        (tmp_path / "share").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "share")
        for kind in ("ext4", "nfs"):
            with mounted.open("a") as listing:
                listing.write(self.LINE.format(point=tmp_path / "share", kind=kind))
        with pytest.raises(StateError, match="share is a network file system"):
            mounts.refuse_network(tmp_path / "link" / "lab.db")

    @pytest.mark.parametrize("other", ["/", "/elsewhere", "{folder}/below/it/and/deeper", "{folder}-beside"])
    def test_a_share_that_does_not_hold_the_file_does_not_matter(
        self, mounted: Path, tmp_path: Path, other: str
    ) -> None:
        with mounted.open("a") as listing:
            listing.write(self.LINE.format(point=tmp_path, kind="ext4"))
            listing.write(self.LINE.format(point=other.format(folder=tmp_path), kind="nfs"))
            listing.write("a line of another form\n")
        with opened(tmp_path / "lab.db") as store:
            assert store.read().serial == 0

    def test_where_mounts_are_not_listed_nothing_is_refused(self, mounted: Path, tmp_path: Path) -> None:
        mounted.unlink()
        with opened(tmp_path / "lab.db") as store:
            assert store.read().serial == 0


class TestCopies:
    def test_a_copy_has_what_is_still_in_the_log_of_writes(self, file: Path, tmp_path: Path) -> None:
        with opened(file) as store, store.lock(["bob/lab2"], ANNA):
            assert file.with_name("lab.db-wal").stat().st_size > 0
            copy_database(file, tmp_path / "copy.db")
        assert ask(tmp_path / "copy.db", "SELECT name FROM locks") == "bob/lab2"

    def test_a_text_is_private_and_whole(self, tmp_path: Path) -> None:
        file = tmp_path / "record.json"
        file.write_text("old")
        file.chmod(0o644)
        write_private(file, "new")
        assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o600)
        assert list(tmp_path.iterdir()) == [file]

    def test_what_is_kept_is_never_written_over(self, tmp_path: Path) -> None:
        file = tmp_path / "lab.db.before-import-3.json"
        assert [keep(file, text).name for text in "abc"] == [
            "lab.db.before-import-3.json",
            "lab.db.before-import-3-2.json",
            "lab.db.before-import-3-3.json",
        ]
        assert file.read_text() == "a"

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StateError, match=r"none/record\.json cannot be written: No such file or directory"):
            write_private(tmp_path / "none" / "record.json", "text")
