"""What an apply says, and does, where its numbers were given to another slice after it was planned."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler import workflow
from reconciler.plan.snapshot import SHARED
from reconciler.simulation.cluster import HOLDER
from reconciler.state.sql.store import SqlStore, open_store
from tests.cli.running import PROGRAM, Cli, Write, asking, plain

pytestmark = pytest.mark.slow

OTHER = "version: 1\nname: other\nowner: admin\ndefaults: {flavor: cirros}\nvms: {a: {}}\n"
NOTICE = "Another apply was first: planned again, with new numbers for new resources.\n"


@pytest.fixture
def store(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlStore]:
    """Give the record that all commands here use."""
    monkeypatch.setenv("RECONCILER_STATE", str(project / "state.db"))
    opened = open_store(project / "state.db", cluster="campus", clock=lambda: datetime.now(UTC))
    yield opened
    opened.close()


@pytest.fixture
def overtake(project: Path, write: Write, store: SqlStore) -> Callable[[], None]:
    """Give the first numbers to another slice."""
    inputs = workflow.load(project / "cluster.yaml", [write("other/other.yaml", OTHER)])

    def begin() -> None:
        store.finish(store.begin(workflow.plan(inputs, store), HOLDER, ""), "failed", 0)

    return begin


def test_who_approved_on_a_terminal_is_told_that_numbers_went_to_others(cli: Cli, overtake: Callable[[], None]) -> None:
    with asking(["apply", "slices"], "Do this? [y/N]: ") as run:
        overtake()
        done = run.answer(b"y\n")
    assert done.code == 1
    assert plain(done.out).endswith(
        "error[state-moved]: numbers that this plan shows were given to others after it was made\n"
        "hint: nothing was changed; run apply again: it shows the plan with new numbers\n"
    )
    assert [view["slice"] for view in cli("status", "--json").data] == ["admin/other"]


def test_where_nobody_was_asked_it_goes_on_with_new_numbers(
    cli: Cli, store: SqlStore, overtake: Callable[[], None]
) -> None:
    with subprocess.Popen(
        [PROGRAM, "apply", "--auto-approve", "--no-refresh", "slices"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        with store.lock({SHARED}, HOLDER):
            assert process.stderr.readline().startswith(
                "waiting: what slices share is being changed by"
            )  # it has planned
            overtake()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1  # no host can be reached
    assert err.startswith(NOTICE)
    first, again = (f"slice admin/two-vms (id {number}, VLANs" for number in (1000, 1001))
    assert 0 <= out.find(first) < out.find(again)
    assert {key: given.id for key, given in store.read().allocations.items()} == {
        "admin/other": 1000,
        "admin/two-vms": 1001,
    }
    assert cli("plan", "slices").code == 0
