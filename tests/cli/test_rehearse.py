"""`plan --rehearse` simulates a plan in memory: its output and exit codes, and that nothing is written or contacted."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler import workflow
from reconciler.cli.session import Session
from reconciler.cli.simulating import simulate_plan
from reconciler.errors import Code, SimulationError
from reconciler.plan.resources import Disk
from reconciler.simulation.cluster import SimulatedCluster
from reconciler.simulation.drivers import DRIVERS
from reconciler.state.sql.store import open_store
from reconciler.workflow.simulate import engine_of
from tests.cli.running import PROGRAM, Cli, Write, on_terminal, plain

pytestmark = pytest.mark.slow

CHANGES = 2
SOLO = """\
version: 1
name: solo
owner: admin
defaults: {flavor: cirros}
vms:
  one: {internet: true, cloud_init: "#!/bin/sh\\necho one\\n"}
"""
ALL = re.compile(
    r"Simulated in \d+\.\d s: stopped at all (\d+) interruption points; after each, one more apply gave the same hosts "
    r"and state as an apply without interruption\.\n$"
)


@pytest.fixture
def solo(project: Path, write: Write) -> Path:
    """Give a slice of one VM, whose folder holds nothing else."""
    return write("solo/solo.yaml", SOLO)


@pytest.fixture
def recorded(solo: Path, project: Path) -> Path:
    """Give the record of an apply of that slice, done on a model: no host of the cluster file is there."""
    inputs = workflow.load(project / "cluster.yaml", [solo])
    cluster = inputs.cluster.cluster
    place = project / "state.db"
    store = open_store(place, cluster=cluster.name, clock=lambda: datetime.now(UTC))
    engine = engine_of(SimulatedCluster([host.name for host in cluster.hosts()]), store)
    applied = asyncio.run(workflow.apply(engine, inputs))
    store.close()
    assert applied.ok
    return place


@pytest.mark.root
def test_a_simulation_needs_no_network_no_key_and_no_writable_folder(solo: Path, project: Path) -> None:
    before = sorted(project.parent.rglob("*"))
    argv = ["unshare", "--net", "--", PROGRAM, "plan", "--rehearse", str(solo)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(project.parent / "home")}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
    said = ALL.search(done.stdout)
    assert said, done.stdout
    assert int(said[1]) >= 40
    assert "\nPlan: 9 to add" in done.stdout
    assert sorted(project.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "text", "actions"),
    [
        (["solo"], SOLO.replace("one: {", "one: {memory: 512MiB, ").replace("echo one", "echo two"), {"update"}),
        (["solo", "--replace", "disk/admin/solo/one"], SOLO, {"delete,create"}),
        (["other", "--prune"], SOLO, {"delete", "create"}),
    ],
    ids=["change", "replace", "prune"],
)
def test_a_simulation_begins_with_the_state_and_does_not_change_it(
    recorded: Path, cli: Cli, write: Write, arguments: list[str], text: str, actions: set[str]
) -> None:
    write("solo/solo.yaml", text)
    write("other/bare.yaml", "version: 1\nname: bare\nowner: admin\ndefaults: {flavor: cirros}\nvms: {a: {}}\n")
    before = recorded.read_bytes()
    done = cli("plan", "--rehearse", "--detailed-exitcode", "--json", "--state", str(recorded), *arguments)
    assert (done.code, done.err) == (CHANGES, "")
    assert {",".join(change["change"]["actions"]) for change in done.data["resource_changes"]} == actions
    told = done.data["rehearsal"]
    assert told.pop("seconds") > 0
    assert told == {"moments": told["moments"], "played": told["moments"], "scenes": told["scenes"], "complete": True}
    assert min(told["scenes"], told["moments"]) > 10
    assert recorded.read_bytes() == before


def test_a_plan_with_nothing_to_do_has_no_interruption_point(recorded: Path, cli: Cli) -> None:
    done = cli("plan", "--rehearse", "--state", str(recorded), "solo")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("Simulated: there is nothing to do, so there is no interruption point.\n")


def test_the_first_point_that_one_more_apply_does_not_complete_is_reported(solo: Path, project: Path) -> None:
    disks = DRIVERS[Disk.kind]
    forgetful = replace(disks, ensure=lambda disk, fact, before: () if fact else disks.ensure(disk, None, before))
    session = Session(cluster=project / "cluster.yaml")
    inputs = session.slice_inputs([solo])
    with session.store(inputs.cluster, read_only=True) as store, pytest.raises(SimulationError) as caught:
        simulate_plan(session, inputs, store, workflow.NOTHING_ELSE, {**DRIVERS, Disk.kind: forgetful})
    assert caught.value.code is Code.SIMULATION
    assert re.fullmatch(
        r"if stopped when worker1 was at command \d of \d+, and hosts were cut off \(interruption point \d+ of \d+\), "
        r"one more apply would not complete this plan: vm/admin/solo/one on worker1: there is no disk \S+",
        caught.value.summary,
    )


def test_a_simulation_does_not_refresh_hosts(solo: Path, cli: Cli) -> None:
    done = cli("plan", "--rehearse", "--refresh", str(solo))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error[usage]: --rehearse uses the state only")


def test_progress_is_shown_on_a_terminal(solo: Path) -> None:
    done = on_terminal(["plan", "--rehearse", str(solo)])
    assert done.code == 0
    assert re.search(r"simulating .* \d+/\d+ +interruption points", plain(done.out))
    assert ALL.search(plain(done.out).rstrip("\r\n") + "\n")
