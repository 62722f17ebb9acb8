"""An apply that is stopped at any point is completed by the next one, on simulated hosts with the real executor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from reconciler import workflow
from reconciler.plan.model import Action
from reconciler.plan.resources import Disk
from reconciler.simulation.cluster import SimulatedCluster
from reconciler.simulation.drivers import DRIVERS
from reconciler.simulation.hosts import object_name
from reconciler.simulation.setup import simulated_copy
from reconciler.spec.models.names import Address, HostName, SliceKey
from reconciler.state.image import Image
from reconciler.workflow.simulate import SimulationResult, apply_on, interruption_points, simulate
from tests.conftest import Tell
from tests.simulation.sqlite_state import SqliteState

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

# A slice and a VM with user-data get other names, and the other VM more memory.
RENAMED = """\
version: 1
name: renamed
renamed_from: user-data
owner: admin
defaults: {flavor: cirros}
vms:
  www: {renamed_from: web, internet: true, cloud_init: "#!/bin/sh\\necho a\\n"}
  client: {memory: 512MiB}
links:
  - [www, client]
"""

CHANGED: Final = {"two-vms": TWO_VMS, "triangle": TRIANGLE, "user-data": USER_DATA}


def _disk(cluster: SimulatedCluster, vm: str) -> str:
    resource = cluster.store.read().resources[Address(f"disk/admin/two-vms/{vm}")].resource
    return object_name(resource)


def empty_cluster(inputs: workflow.Inputs) -> SimulatedCluster:
    cluster = inputs.cluster.cluster
    return SimulatedCluster([host.name for host in cluster.hosts()])


def example(name: str) -> workflow.Inputs:
    return workflow.load(CLUSTER, [EXAMPLES / f"{name}.yaml"])


def image(cluster: SimulatedCluster) -> Image:
    found = cluster.store.image()
    assert isinstance(found, Image)
    return found


def complete(result: SimulationResult) -> int:
    """Check that every point was simulated without a failure, and return how many there were."""
    assert result.failure is None
    assert result.simulated == result.points
    return result.points


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGED)
def test_one_more_apply_completes_an_apply_stopped_at_any_point(name: str, tmp_path: Path, tell: Tell) -> None:
    first = example(name)
    (tmp_path / "changed.yaml").write_text(CHANGED[name])
    second = workflow.load(CLUSTER, [tmp_path / "changed.yaml"])
    cluster = empty_cluster(first)
    created = complete(simulate(cluster, first))
    assert apply_on(cluster, first).ok
    changed = complete(simulate(cluster, second))
    assert apply_on(cluster, second).ok
    if name == "two-vms":
        assert cluster.objects()[HostName("worker3"), _disk(cluster, "web")].data == b"written on worker2"
    bare, gone = workflow.Inputs(first.cluster), workflow.Asked(destroy=(SliceKey(f"admin/{name}"),))
    destroyed = complete(simulate(cluster, bare, gone))
    assert min(created, changed, destroyed) >= 19  # one for each step of the smallest at least
    assert apply_on(cluster, bare, gone).ok
    assert cluster.objects() == {}
    tell(f"{name} on the model, stopped everywhere: {created} + {changed} + {destroyed} points")


@pytest.mark.slow
@pytest.mark.parametrize("store", [None, SqliteState])
def test_a_rename_stopped_at_any_point_keeps_all_data(
    store: type[SqliteState] | None, tmp_path: Path, tell: Tell
) -> None:
    first = example("user-data")
    (tmp_path / "renamed.yaml").write_text(RENAMED)
    second = workflow.load(CLUSTER, [tmp_path / "renamed.yaml"])
    cluster = SimulatedCluster([host.name for host in first.cluster.cluster.hosts()], store=store)
    assert apply_on(cluster, first).ok
    data = {place: found.data for place, found in cluster.objects().items() if found.data}
    points = complete(simulate(cluster, second))
    assert points >= 19
    assert apply_on(cluster, second).ok
    found = cluster.objects()
    assert {place: found[place].data for place in data} == data
    assert not any("admin/user-data" in each.owner for each in found.values())
    gone = workflow.Asked(destroy=(SliceKey("admin/renamed"),))
    assert apply_on(cluster, workflow.Inputs(first.cluster), gone).ok
    assert cluster.objects() == {}
    tell(f"a rename on the model, stopped everywhere: {points} points")


def test_a_second_rename_may_follow_a_stopped_one(tmp_path: Path) -> None:
    first = example("user-data")
    text = RENAMED.replace("name: renamed", "name: once-more").replace(
        "renamed_from: user-data", "renamed_from: renamed"
    )
    for name, written in (("renamed", RENAMED), ("again", text)):
        (tmp_path / f"{name}.yaml").write_text(written)
    second, third = (workflow.load(CLUSTER, [tmp_path / f"{name}.yaml"]) for name in ("renamed", "again"))
    cluster = empty_cluster(first)
    assert apply_on(cluster, first).ok
    begun = 0
    for point in interruption_points(cluster, second, workflow.NOTHING_ELSE, lambda number: number % 3 == 0):
        cluster.restore(point.checkpoint.cut())
        if SliceKey("admin/renamed") in cluster.store.read().allocations:
            begun += 1
            assert apply_on(cluster, third).ok
            owners = {found.resource.slice for found in cluster.objects().values()}
            assert owners == {None, "admin/once-more"}
    assert begun > 3


def test_an_interrupted_replacement_is_completed() -> None:
    inputs = example("internet-only")
    cluster = empty_cluster(inputs)
    assert apply_on(cluster, inputs).ok
    disk = next(where for where in cluster.store.read().resources if where.startswith("disk/"))
    asked = workflow.Asked(replace=(disk,))
    assert {change.action for change in workflow.plan(inputs, cluster.store, asked).changes} == {Action.REPLACE}
    assert complete(simulate(cluster, inputs, asked)) >= 19


@pytest.mark.slow
def test_the_same_holds_with_the_state_in_sqlite() -> None:
    inputs = example("user-data")
    hosts = [host.name for host in inputs.cluster.cluster.hosts()]
    in_memory = complete(simulate(SimulatedCluster(hosts), inputs))
    assert complete(simulate(SimulatedCluster(hosts, store=SqliteState), inputs)) == in_memory >= 19


def test_a_driver_that_accepts_an_incomplete_disk_is_detected() -> None:
    inputs = example("internet-only")
    disks = DRIVERS[Disk.kind]
    forgetful = replace(disks, ensure=lambda disk, fact, before: () if fact else disks.ensure(disk, None, before))
    cluster = empty_cluster(inputs)
    cluster.drivers = {**DRIVERS, Disk.kind: forgetful}
    result = simulate(cluster, inputs)
    assert result.failure is not None
    assert result.failure.number == result.simulated < result.points
    assert result.failure.description == "when worker1 was at command 4 of 9, and hosts were cut off"
    assert result.failure.problem.startswith("vm/admin/internet-only/solo on worker1: there is no disk ")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["groups", "line", "routers-in-a-line"])
def test_every_other_example_can_be_simulated(name: str) -> None:
    result = simulate(empty_cluster(example(name)), example(name), most=6)
    assert (result.failure, result.simulated) == (None, 6)


def test_resources_of_an_unfinished_apply_are_incomplete_in_the_copy() -> None:
    inputs = example("internet-only")
    cluster = empty_cluster(inputs)
    points = interruption_points(cluster, inputs, workflow.NOTHING_ELSE, lambda _: True)
    written = [one for one in points if one.description.startswith("after") and "intent" in one.description]
    cluster.restore(written[0].checkpoint)
    copy = simulated_copy(inputs.cluster.cluster, image(cluster))
    begun = {entry.resource.address for entry in cluster.store.read().resources.values()}
    assert {found.owner: found.complete for found in copy.objects().values()} == dict.fromkeys(begun, False)
    assert complete(simulate(copy, inputs)) > len(begun) > 1


def test_a_host_that_is_no_longer_in_the_cluster_file_is_simulated(tmp_path: Path) -> None:
    cluster = empty_cluster(example("triangle"))
    assert apply_on(cluster, example("triangle")).ok
    (tmp_path / "cluster.yaml").write_text(CLUSTER.read_text().replace("gateway,", "border,"))
    other = workflow.load(tmp_path / "cluster.yaml", [EXAMPLES / "two-vms.yaml"])
    copy = simulated_copy(other.cluster.cluster, image(cluster))
    assert copy.objects() == cluster.objects()
    assert simulate(copy, other, most=2).failure is None


def test_at_most_the_requested_number_of_points_is_simulated() -> None:
    inputs = example("internet-only")
    told: list[tuple[int, int]] = []
    result = simulate(empty_cluster(inputs), inputs, most=7, on_progress=lambda *numbers: told.append(numbers))
    assert (result.simulated, result.failure) == (7, None)
    assert result.points > 7
    assert told == [(number, 7) for number in range(1, 8)]
