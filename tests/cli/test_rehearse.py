"""`plan --rehearse` plays a plan in memory: what it says, how it ends, and that nothing is written or contacted."""

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
from reconciler.cli.simulating import rehearse_plan
from reconciler.errors import Code, SimulationError
from reconciler.plan.resources import Disk
from reconciler.simulation.drivers import DRIVERS
from reconciler.simulation.simulation import HOLDER, Simulation
from reconciler.state.sql.store import open_store
from tests.cli.running import PROGRAM, Cli, Write, on_terminal, plain

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
    r"Rehearsed in \d+\.\d s: played all (\d+) moments; stopped at each, one more apply ended with the same hosts and "
    r"record as one left alone\.\n$"
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
    edges = Simulation(cluster.name, [host.name for host in cluster.hosts()]).edges()
    applied = asyncio.run(workflow.apply(inputs, store, edges, holder=HOLDER, approve=lambda _: True))
    store.close()
    assert applied.ok
    return place


def test_a_rehearsal_needs_neither_network_nor_key_nor_writable_place(solo: Path, project: Path) -> None:
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
def test_a_rehearsal_begins_from_what_is_recorded_and_leaves_it(
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


def test_where_there_is_nothing_to_do_there_is_no_moment(recorded: Path, cli: Cli) -> None:
    done = cli("plan", "--rehearse", "--state", str(recorded), "solo")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("Rehearsed: there is nothing to do, and so no moment to stop at.\n")


def test_the_first_moment_from_which_one_more_apply_does_not_do_is_told(solo: Path, project: Path) -> None:
    disks = DRIVERS[Disk.kind]
    forgetful = replace(disks, ensure=lambda disk, fact, before: () if fact else disks.ensure(disk, None, before))
    session = Session(cluster=project / "cluster.yaml")
    inputs = session.slice_inputs([solo])
    with session.store(inputs.cluster, read_only=True) as store, pytest.raises(SimulationError) as caught:
        rehearse_plan(session, inputs, store, workflow.NOTHING_ELSE, {**DRIVERS, Disk.kind: forgetful})
    assert caught.value.code is Code.REHEARSAL
    assert re.fullmatch(
        r"stopped as worker1 was at \d of a batch of \d commands, and hosts were cut off \(moment \d+ of \d+\), "
        r"this would not be completed by one more apply: vm/admin/solo/one on worker1: there is no disk \S+",
        caught.value.summary,
    )


def test_a_rehearsal_does_not_look_at_hosts(solo: Path, cli: Cli) -> None:
    done = cli("plan", "--rehearse", "--refresh", str(solo))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error[usage]: --rehearse plays from what is recorded")


def test_progress_is_shown_on_a_terminal(solo: Path) -> None:
    done = on_terminal(["plan", "--rehearse", str(solo)])
    assert done.code == 0
    assert re.search(r"rehearsing .* \d+/\d+ +moments", plain(done.out))
    assert ALL.search(plain(done.out).rstrip("\r\n") + "\n")
