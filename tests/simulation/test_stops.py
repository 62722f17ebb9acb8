"""Stopped at any moment, an apply is completed by the next: on hosts in memory, with the real executor and record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from reconciler import workflow
from reconciler.plan.model import Action
from reconciler.plan.resources import Disk
from reconciler.simulation.drivers import DRIVERS
from reconciler.simulation.setup import set_up
from reconciler.simulation.simulate import SimulationResult, rehearse
from reconciler.simulation.simulation import Simulation
from reconciler.spec.models.names import SliceKey
from tests.conftest import Tell

ROOT = Path(__file__).parents[2]
CLUSTER, EXAMPLES = ROOT / "examples/cluster.yaml", ROOT / "examples/topologies"

# A VM moves to another worker, the other gets another image, and their link goes.
TWO_VMS = """\
version: 1
name: two-vms
owner: admin
defaults: {flavor: cirros}
vms:
  web: {internet: true, worker: worker3}
  db: {flavor: ubuntu}
"""

# A VM less, another more, memory changed; a link stays, two go, one comes.
TRIANGLE = """\
version: 1
name: triangle
owner: admin
defaults: {flavor: cirros}
vms:
  a: {internet: true}
  b: {interfaces: 3, memory: 512MiB}
  d: {internet: true}
links:
  - [a:eth1, b:eth1]
  - [b:eth2, d:eth1]
"""

# Other user-data for one VM, none for the other.
USER_DATA = """\
version: 1
name: user-data
owner: admin
defaults: {flavor: cirros}
vms:
  web: {internet: true, cloud_init: "#!/bin/sh\\necho other\\n"}
  client: {}
links:
  - [web, client]
"""

CHANGED: Final = {"two-vms": TWO_VMS, "triangle": TRIANGLE, "user-data": USER_DATA}


def stage_for(inputs: workflow.Inputs) -> Simulation:
    cluster = inputs.cluster.cluster
    return Simulation(cluster.name, [host.name for host in cluster.hosts()])


def example(name: str) -> workflow.Inputs:
    return workflow.load(CLUSTER, [EXAMPLES / f"{name}.yaml"])


def whole(trial: SimulationResult) -> int:
    """See that every moment was played and none was wanting, and return how many there were."""
    assert trial.flaw is None
    assert trial.played == trial.moments
    return trial.moments


@pytest.mark.parametrize("name", CHANGED)
def test_one_apply_completes_what_was_stopped_anywhere(name: str, tmp_path: Path, tell: Tell) -> None:
    first = example(name)
    (tmp_path / "changed.yaml").write_text(CHANGED[name])
    second = workflow.load(CLUSTER, [tmp_path / "changed.yaml"])
    stage = stage_for(first)
    created = whole(rehearse(stage, first))
    assert stage.apply(first).ok
    changed = whole(rehearse(stage, second))
    assert stage.apply(second).ok
    bare, gone = workflow.Inputs(first.cluster), workflow.Asked(destroy=(SliceKey(f"admin/{name}"),))
    destroyed = whole(rehearse(stage, bare, gone))
    assert min(created, changed, destroyed) >= 19  # one for each step of the smallest at least
    assert stage.apply(bare, gone).ok
    assert stage.standing() == {}
    tell(f"{name} on the model, stopped everywhere: {created} + {changed} + {destroyed} moments")


def test_what_is_made_anew_without_a_difference_is_made_to_the_end() -> None:
    inputs = example("internet-only")
    stage = stage_for(inputs)
    assert stage.apply(inputs).ok
    disk = next(where for where in stage.store.read().resources if where.startswith("disk/"))
    asked = workflow.Asked(replace=(disk,))
    assert {change.action for change in workflow.plan(inputs, stage.store, asked).changes} == {Action.REPLACE}
    assert whole(rehearse(stage, inputs, asked)) >= 19


def test_a_driver_that_takes_half_a_disk_for_a_whole_one_is_found_out() -> None:
    inputs = example("internet-only")
    disks = DRIVERS[Disk.kind]
    forgetful = replace(disks, ensure=lambda disk, fact, before: () if fact else disks.ensure(disk, None, before))
    stage = stage_for(inputs)
    stage.drivers = {**DRIVERS, Disk.kind: forgetful}
    trial = rehearse(stage, inputs)
    assert trial.flaw is not None
    assert trial.flaw.number == trial.played < trial.moments
    assert trial.flaw.moment == "as worker1 was at 4 of a batch of 7 commands, and hosts were cut off"
    assert trial.flaw.ended.startswith("vm/admin/internet-only/solo on worker1: there is no disk ")


@pytest.mark.parametrize("name", ["groups", "line", "routers-in-a-line"])
def test_every_other_example_can_be_rehearsed(name: str) -> None:
    trial = rehearse(stage_for(example(name)), example(name), most=6)
    assert (trial.flaw, trial.played) == (None, 6)


def test_what_an_unfinished_apply_left_open_stands_half_made() -> None:
    inputs = example("internet-only")
    stage = stage_for(inputs)
    stops = stage.stops(inputs, workflow.NOTHING_ELSE, lambda _: True)
    stage.rewind(next(stop.scene for stop in stops if stop.words.startswith("after") and "intent" in stop.words))
    copy = set_up(inputs.cluster.cluster, stage.store)
    begun = {entry.resource.address for entry in stage.store.read().resources.values()}
    assert {thing.owner: thing.whole for thing in copy.standing().values()} == dict.fromkeys(begun, False)
    assert whole(rehearse(copy, inputs)) > len(begun) > 1


def test_a_host_that_the_cluster_file_has_lost_stands_by(tmp_path: Path) -> None:
    stage = stage_for(example("triangle"))
    assert stage.apply(example("triangle")).ok
    (tmp_path / "cluster.yaml").write_text(CLUSTER.read_text().replace("gateway,", "border,"))
    other = workflow.load(tmp_path / "cluster.yaml", [EXAMPLES / "two-vms.yaml"])
    copy = set_up(other.cluster.cluster, stage.store)
    assert copy.standing() == stage.standing()
    assert rehearse(copy, other, most=2).flaw is None


def test_of_many_moments_as_many_as_asked_for_are_played() -> None:
    inputs = example("internet-only")
    told: list[tuple[int, int]] = []
    trial = rehearse(stage_for(inputs), inputs, most=7, tell=lambda *numbers: told.append(numbers))
    assert (trial.played, trial.flaw) == (7, None)
    assert trial.moments > 7
    assert told == [(number, 7) for number in range(1, 8)]
