"""`history`, `unlock` and `state`: what they print, whom they ask, and what they leave."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.plan.results import StepResult, StepStatus
from reconciler.plan.snapshot import SHARED
from reconciler.spec.models.names import SliceKey
from reconciler.state.location import default_place
from reconciler.state.sql.store import SqlStore, open_store
from reconciler.state.store import Holder
from tests.cli.running import Cli, answering
from tests.contracts.states import allocation, image, perform, plan, port, router, steps
from tests.fresh import make_state

CLUSTER = "campus"
KEY = SliceKey("admin/web")
BERT = Holder("bert", "ctl1", os.getpid())
ROUTER, PORT, IMAGE = router(KEY).address, port(100, KEY).address, image().address
NO_TERMINAL = (
    "error[usage]: there is no terminal to ask on, so nothing was changed\n"
    "hint: add --auto-approve to continue without a question\n"
)


@contextmanager
def opened(where: Path | None = None) -> Iterator[SqlStore]:
    place = where or default_place(CLUSTER)
    make_state(place, CLUSTER)
    store = open_store(place, cluster=CLUSTER, clock=lambda: datetime(2026, 11, 22, 8, 0, tzinfo=UTC))
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def recorded(project: Path) -> Path:
    """Record a slice, then a change of it that was cut off; return the record's file."""
    with opened() as store:
        todo = steps((None, router(KEY)), (None, port(100, KEY)), (None, image()))
        perform(store, plan(store, {KEY: allocation(vlans=(0, 1))}, todo=todo))
        todo = steps((port(100, KEY), port(101, KEY)))
        apply = store.begin(plan(store, {KEY: allocation(vlans=(1,))}, todo=todo), BERT, "abc")
        store.intend(apply, todo)
        store.record(apply, [StepResult(todo[0], StepStatus.UNKNOWN, "connection lost")])
    return default_place(CLUSTER)


@pytest.mark.usefixtures("project")
def test_an_empty_record_says_so_and_none_is_made(cli: Cli) -> None:
    assert cli("history").out == "Nothing has been applied.\n"
    assert cli("state", "list").out == "There is no resource in the state.\n"
    assert (cli("history", "--json").data, cli("state", "list", "--json").data) == ([], [])
    assert not default_place(CLUSTER).exists()


@pytest.mark.usefixtures("recorded")
class TestHistory:
    def test_it_tells_who_when_and_how(self, cli: Cli) -> None:
        lines = cli("history").out.splitlines()
        assert lines[1].split() == [
            "APPLY",
            "VERB",
            "STARTED",
            "BY",
            "SECONDS",
            "RESULT",
            "DONE",
            "FAILED",
            "SKIPPED",
            "SLICES",
        ]
        assert "2026-11-22 08:00:00 UTC" in lines[3]
        assert "bert@ctl1" in lines[3]
        assert "not finished" in lines[3]
        assert lines[4].split()[-5:] == ["done", "3", "0", "0", "admin/web"]

    def test_as_json(self, cli: Cli) -> None:
        latest, first = cli("history", "--json").data
        assert (latest["id"], latest["finished"], latest["holder"]["user"]) == (2, None, "bert")
        assert (first["result"], first["slices"], first["started"]) == ("done", [KEY], "2026-11-22T08:00:00+00:00")
        assert [entry["id"] for entry in cli("history", "--limit", "1", "--json").data] == [2]

    def test_the_steps_of_one_apply(self, cli: Cli) -> None:
        assert "connection lost" in cli("history", "2").out
        (step,) = cli("history", "2", "--json").data
        assert (step["address"], step["action"], step["outcome"]) == (PORT, "update", "unknown")
        assert step["words"] == "connection lost"

    @pytest.mark.parametrize("number", ["0", "3"])
    def test_an_apply_that_never_was(self, cli: Cli, number: str) -> None:
        done = cli("history", number)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"error[usage]: there is no apply {number} in the history\nhint:")


@pytest.mark.usefixtures("recorded")
class TestLooking:
    def test_list(self, cli: Cli) -> None:
        everything = cli("state", "list", "--json").data
        assert [row["address"] for row in everything] == sorted([IMAGE, PORT, ROUTER])
        own = cli("state", "list", "web", "--json").data
        assert own == [
            {"format_version": 1, "address": PORT, "host": "worker1", "status": "unknown"},
            {"format_version": 1, "address": ROUTER, "host": "network", "status": "present"},
        ]
        assert PORT in cli("state", "list").out

    def test_show(self, cli: Cli) -> None:
        lines = cli("state", "show", PORT).out.splitlines()
        assert lines[0] == f"{PORT} on worker1: unknown"
        assert "  vlan = 100 -> 101" in lines
        assert "  mac = 52:54:00:00:00:01" in lines
        data = cli("state", "show", PORT, "--json").data
        assert (data["attributes"]["vlan"], data["pending"]["vlan"], data["status"]) == (100, 101, "unknown")

    def test_a_near_name_is_offered(self, cli: Cli) -> None:
        done = cli("state", "show", f"{ROUTER}x")
        assert done.code == 1
        assert done.err == f"error[usage]: {ROUTER}x: not in the state\nhint: did you mean {ROUTER}?\n"


class TestUnlock:
    @pytest.mark.usefixtures("recorded")
    def test_it_warns_who_and_takes_the_lock_away(self, cli: Cli) -> None:
        with opened() as store, store.lock([KEY, SHARED], BERT):
            done = cli("unlock", "web", "--auto-approve")
            assert (done.code, done.out) == (0, "Unlocked admin/web.\n")
            assert done.err.startswith(
                f"warning: admin/web is locked by bert on host ctl1 (pid {BERT.pid}) since 2026-11-22 08:00:00 UTC\n"
                "  Last renewal: 2026-11-22 08:00:00 UTC. It "
            )
            data = cli("unlock", SHARED, "--auto-approve", "--json").data
            assert (data["lock"], data["holder"]["pid"], data["unlocked"]) == (SHARED, BERT.pid, True)
            assert data["last_sign_of_life"] == "2026-11-22T08:00:00+00:00"
            assert data["seems"] in {"alive", "silent"}, "no process of another host is looked for here"
            assert store.locks() == ()

    @pytest.mark.usefixtures("recorded")
    @pytest.mark.parametrize(("keys", "code", "left"), [(b"n\n", 1, 1), (b"y\n", 0, 0)], ids=["no", "yes"])
    def test_it_asks(self, cli: Cli, keys: bytes, code: int, left: int) -> None:
        with opened() as store, store.lock([KEY], BERT):
            with answering(keys):
                done = cli("unlock", "web")
            assert (done.code, len(store.locks())) == (code, left)
        assert re.search(r"bert on host ctl1 .*Remove the lock\? \[y/N\]: ", done.err, re.DOTALL)

    @pytest.mark.usefixtures("recorded")
    def test_without_a_terminal_nothing_is_done_unapproved(self, cli: Cli) -> None:
        with opened() as store, store.lock([KEY], BERT):
            done = cli("unlock", "web")
            assert (done.code, done.out, len(store.locks())) == (1, "", 1)
        assert done.err.endswith(NO_TERMINAL)

    @pytest.mark.usefixtures("recorded")
    def test_nobody_holds_it(self, cli: Cli) -> None:
        done = cli("unlock", "web")
        assert (done.code, done.out) == (0, "The lock of web is not held.\n")

    @pytest.mark.usefixtures("recorded")
    def test_a_name_that_nobody_knows(self, cli: Cli) -> None:
        done = cli("unlock", "wob")
        assert (done.code, done.err.splitlines()[0]) == (1, "error[usage]: there is no slice 'wob' in the state")


class TestMoving:
    @pytest.mark.usefixtures("recorded")
    def test_there_and_back(self, cli: Cli, folder: Path) -> None:
        text = cli("state", "export").out
        done = cli("state", "export", "-o", "record.json")
        assert done.out.startswith(f"Wrote record.json: cluster {CLUSTER}, serial 7, 1 slice, 3 resources, lineage ")
        file = folder / "record.json"
        assert file.read_text() == text
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        other = folder / "other.db"
        moved = cli("--state", str(other), "state", "import", "record.json", "--auto-approve")
        assert (moved.code, moved.out) == (0, "Imported record.json.\n")
        assert cli("--state", str(other), "state", "export").out == text

    def test_what_was_here_is_kept(self, cli: Cli, recorded: Path, folder: Path) -> None:
        before = cli("state", "export", "-o", "record.json", "--json").data
        data = cli("state", "import", "record.json", "--auto-approve", "--json").data
        kept = recorded.with_name(f"{CLUSTER}.db.before-import-7.json")
        assert data == {
            "format_version": 1,
            "lineage": before["lineage"],
            "serial": 7,
            "resources": 3,
            "imported": "record.json",
            "kept": str(kept),
        }
        assert kept.read_bytes() == (folder / "record.json").read_bytes()
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600

    def test_an_edited_file_is_refused(self, cli: Cli, recorded: Path, folder: Path) -> None:
        file = folder / "record.json"
        file.write_text(cli("state", "export").out.replace('"vlan": 100', '"vlan": 102'))
        before = recorded.read_bytes()
        done = cli("state", "import", "record.json", "--auto-approve")
        assert (done.code, done.out) == (1, "")
        assert done.err == (
            "error[state-unreadable]: record.json is damaged: its digest does not match its content\n"
            "hint: export the state again; this file was edited or is incomplete\n"
        )
        assert recorded.read_bytes() == before

    @pytest.mark.usefixtures("recorded")
    def test_an_older_record_is_refused(self, cli: Cli) -> None:
        cli("state", "export", "-o", "record.json")
        assert cli("state", "forget", PORT, "--auto-approve").code == 0
        done = cli("state", "import", "record.json", "--auto-approve", "--json")
        assert (done.code, done.data["error"]["code"]) == (1, "state")
        assert done.data["error"]["summary"] == "the exported state is older (its serial is 7, this one's 8)"

    @pytest.mark.usefixtures("project")
    def test_a_file_that_is_not_there(self, cli: Cli) -> None:
        done = cli("state", "import", "none.json", "--auto-approve")
        assert done.code == 1
        assert done.err == "error[file-unreadable]: none.json cannot be read: No such file or directory\n"

    @pytest.mark.usefixtures("recorded")
    def test_it_asks(self, cli: Cli) -> None:
        cli("state", "export", "-o", "record.json")
        unasked = cli("state", "import", "record.json")
        assert (unasked.code, unasked.out) == (1, "")
        assert unasked.err.endswith(NO_TERMINAL)
        with answering(b"\n"):
            done = cli("state", "import", "record.json")
        assert done.code == 1
        assert done.err.endswith("Import it? [y/N]: Nothing was changed.\n")
        assert [path.name for path in default_place(CLUSTER).parent.iterdir()] == [f"{CLUSTER}.db"]


@pytest.mark.usefixtures("recorded")
class TestForget:
    def test_it_says_what_stays_where_and_forgets(self, cli: Cli) -> None:
        done = cli("state", "forget", PORT, IMAGE, "--auto-approve")
        assert (done.code, done.out) == (0, "Removed 2 resources from the state. No host was contacted.\n")
        assert f"{PORT} (unknown) will be removed from the state; what is on worker1 (tap t1001-1, mac " in done.err
        assert [row["address"] for row in cli("state", "list", "--json").data] == [ROUTER]

    def test_as_json(self, cli: Cli) -> None:
        assert cli("state", "forget", ROUTER, "--auto-approve", "--json").data == {
            "format_version": 1,
            "forgotten": [{"address": ROUTER, "host": "network"}],
        }

    def test_one_unknown_address_and_nothing_is_forgotten(self, cli: Cli) -> None:
        done = cli("state", "forget", PORT, "vm/none", "--auto-approve")
        assert (done.code, done.err.splitlines()[0]) == (1, "error[usage]: vm/none: not in the state")
        assert len(cli("state", "list", "--json").data) == 3

    def test_a_slice_that_somebody_changes_is_left_alone(self, cli: Cli) -> None:
        with opened() as store, store.lock([KEY], BERT):
            done = cli("state", "forget", PORT, "--auto-approve")
        assert done.code == 1
        assert "error[state-locked]: admin/web is being changed by bert on host ctl1" in done.err
        assert len(cli("state", "list", "--json").data) == 3

    def test_without_a_terminal_nothing_is_done_unapproved(self, cli: Cli) -> None:
        done = cli("state", "forget", PORT)
        assert (done.code, done.out) == (1, "")
        assert done.err.endswith(NO_TERMINAL)
        assert len(cli("state", "list", "--json").data) == 3
