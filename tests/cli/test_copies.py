"""`state restore`: a copy of the state is kept before each apply, and brought back, also over a damaged state."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.errors import StateError
from reconciler.state.copies import KEPT, copies_folder, database_copies, keep_before_applies, keep_database
from reconciler.state.location import default_place
from reconciler.state.sql.store import open_store
from tests.cli.running import Cli
from tests.contracts.states import LAB1, allocation, perform, plan, router, steps
from tests.fresh import make_state

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)


@pytest.fixture
def file(project: Path) -> Path:
    """Make a state with one slice, and a copy from before that."""
    place = default_place("campus")
    make_state(place, "campus")
    keep_database(place, START)
    with closing(open_store(place, cluster="campus", clock=lambda: START)) as store:
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, router(LAB1)))))
    keep_database(place, START + timedelta(hours=1))
    return place


def slices(cli: Cli) -> list[str]:
    return [one["slice"] for one in cli("status", "--json").data]


def test_copies_are_listed_newest_first(cli: Cli, file: Path) -> None:
    found = cli("state", "restore", "--json").data
    assert [(one["name"], one["slices"]) for one in found] == [
        ("20261102T090000.000000Z", 1),
        ("20261102T080000.000000Z", 0),
    ]
    assert "20261102T090000.000000Z" in cli("state", "restore").out


def test_a_copy_is_restored_and_what_it_replaces_is_kept(cli: Cli, file: Path) -> None:
    assert slices(cli) == [LAB1]
    done = cli("state", "restore", "20261102T080000.000000Z", "--auto-approve", "--json")
    assert done.code == 0, done.err
    assert Path(done.data["kept"]).exists()
    assert slices(cli) == []
    assert cli("state", "restore", "latest", "--auto-approve").code == 0
    assert slices(cli) == [LAB1]


def damage(file: Path) -> None:
    file.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)


def truncate(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("break_it", [damage, truncate, Path.unlink])
def test_a_damaged_or_missing_state_is_replaced(cli: Cli, file: Path, break_it: Callable[[Path], object]) -> None:
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    break_it(file)
    if file.exists():
        told = cli("status")
        assert told.code == 1
        assert "reconciler state restore" in told.err
    done = cli("state", "restore", "latest", "--auto-approve")
    assert done.code == 0, done.err
    assert slices(cli) == [LAB1]


def test_a_name_with_a_typo_and_a_place_without_copies(cli: Cli, file: Path) -> None:
    done = cli("state", "restore", "20261102T080000", "--auto-approve")
    assert (done.code, "did you mean `20261102T080000.000000Z`?" in done.err) == (1, True), done.err
    done = cli("state", "restore", "--state", "postgresql://ops@db/campus")
    assert (done.code, "from its own backups" in done.err) == (1, True), done.err
    assert "no copy of the state" in cli("state", "restore", "--state", "other.db").out


def test_only_the_latest_copies_are_kept_and_only_their_owner_reads_them(file: Path) -> None:
    for hour in range(2, KEPT + 4):
        keep_database(file, START + timedelta(hours=hour))
    assert len(database_copies(file)) == KEPT
    assert database_copies(file)[0].stem == "20261102T210000.000000Z"
    assert {path.stat().st_mode & 0o077 for path in (copies_folder(file), *database_copies(file))} == {0}


def test_before_the_first_apply_and_on_a_server_there_is_nothing_to_copy(tmp_path: Path) -> None:
    assert keep_before_applies(str(tmp_path / "no.db"))() is None
    assert keep_before_applies("postgresql://ops@db/campus")() is None


def test_a_copy_that_cannot_be_written_is_one_error(file: Path) -> None:
    for path in database_copies(file):
        path.unlink()
    copies_folder(file).rmdir()
    copies_folder(file).write_text("in the way")
    with pytest.raises(StateError, match="cannot be written"):
        keep_database(file, START)
