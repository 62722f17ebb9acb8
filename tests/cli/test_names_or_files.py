"""Verbs that take slices take the name of a slice or its file alike."""

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

FILE = "slices/two-vms.yaml"


@pytest.fixture
def applied(project: Path) -> Path:
    """Put two-vms into the state as if it was applied."""
    inputs = workflow.load(project / "cluster.yaml", [project / FILE])
    make_state(default_place("campus"), "campus")
    with closing(open_store(default_place("campus"), cluster="campus", clock=lambda: datetime.now(UTC))) as store:
        planned = workflow.plan(inputs, store)
        number = store.begin(planned, Holder("admin", "here", 1), "")
        store.intend(number, planned.steps)
        store.record(number, [StepResult(step, StepStatus.DONE) for step in planned.steps])
        store.finish(number, "done", 0)
    return project


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize("verb", ["show", "show --json", "state list", "plan", "validate"])
def test_both_say_the_same(cli: Cli, verb: str) -> None:
    by_file = cli(*verb.split(), FILE)
    assert by_file.code == 0, by_file.err
    for name in ("two-vms", "admin/two-vms"):
        by_name = cli(*verb.split(), name)
        assert (by_name.code, by_name.out) == (0, by_file.out), by_name.err


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize("given", [FILE, "two-vms"])
def test_a_destroy_finds_its_slice_by_either(cli: Cli, given: str) -> None:
    done = cli("destroy", "--auto-approve", given)
    assert "disk/admin/two-vms/web" in done.out, done.err


@pytest.mark.usefixtures("project")
def test_what_is_neither_is_named(cli: Cli) -> None:
    assert "nothing-here" in cli("plan", "nothing-here").err
    assert "there is no slice 'nothing.yaml' in the state" in cli("show", "nothing.yaml").err


@pytest.mark.usefixtures("project")
def test_a_broken_file_beside_it_changes_nothing(cli: Cli, write: Write) -> None:
    write("slices/broken.yaml", "version: 1\nname: broken\n")
    assert cli("plan", "two-vms").out == cli("plan", FILE).out != ""
