"""A user who is no longer in the cluster file stops nobody else, and what is left of theirs can be destroyed."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler import workflow
from reconciler.plan.results import StepResult, StepStatus
from reconciler.state.location import default_place
from reconciler.state.sql.store import open_store
from reconciler.state.store import Holder
from tests.cli.running import Cli, Write
from tests.fresh import make_state

OTHER = "version: 1\nname: other\nowner: bob\ndefaults: {flavor: cirros}\nvms: {a: {internet: true}, b: {}}\n"


@pytest.fixture
def left(project: Path, write: Write) -> Path:
    """Put a slice of admin into the state, then take admin out of the cluster file and add bob."""
    inputs = workflow.load(project / "cluster.yaml", [project / "slices/two-vms.yaml"])
    make_state(default_place("campus"), "campus")
    with closing(open_store(default_place("campus"), cluster="campus", clock=lambda: datetime.now(UTC))) as store:
        planned = workflow.plan(inputs, store)
        number = store.begin(planned, Holder("admin", "here", 1), "")
        store.intend(number, planned.steps)
        store.record(number, [StepResult(step, StepStatus.DONE) for step in planned.steps])
        store.finish(number, "done", 0)
    cluster = project / "cluster.yaml"
    text = cluster.read_text()
    cluster.write_text(text[: text.index("users:")] + "users:\n  bob: {quota: {vms: 2}}\n")
    write("slices/other.yaml", OTHER)
    return project


@pytest.mark.usefixtures("left")
def test_slices_of_others_are_planned(cli: Cli) -> None:
    done = cli("plan", "slices/other.yaml")
    assert (done.code, "vm/bob/other/a" in done.out) == (0, True), done.err
    assert cli("status").code == 0
    assert cli("show", "admin/two-vms").code == 0


@pytest.mark.usefixtures("left")
def test_what_is_left_can_be_destroyed(cli: Cli) -> None:
    done = cli("destroy", "--auto-approve", "admin/two-vms")
    assert "- disk/admin/two-vms/web" in done.out, done.err


@pytest.mark.usefixtures("left")
def test_their_file_is_one_error_and_another_file_can_be_planned_beside_it(cli: Cli) -> None:
    told = cli("plan").err
    assert told.count("error[") == 1
    assert "the cluster has no user admin" in told
    assert cli("plan", "other").code == 0
