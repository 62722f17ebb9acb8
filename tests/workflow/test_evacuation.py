"""An evacuation on simulated hosts: all VMs leave a worker; nothing is begun where it cannot be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from reconciler import workflow
from reconciler.errors import DataLoss, HostUnreachable
from reconciler.simulation.cluster import SimulatedCluster, VirtualTimeLoop
from reconciler.spec.models.names import HostName
from reconciler.state.store import Verb
from reconciler.workflow.applying import ApplyResult
from reconciler.workflow.evacuation import prepare_evacuation
from reconciler.workflow.simulate import apply_on, engine_of

ROOT = Path(__file__).parents[2]
INPUTS = workflow.load(ROOT / "examples/cluster.yaml", [ROOT / "examples/topologies/triangle.yaml"])
ONE, THREE = HostName("worker1"), HostName("worker3")


def run(work: Coroutine[Any, Any, ApplyResult]) -> ApplyResult:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


@pytest.fixture
def cluster() -> SimulatedCluster:
    made = SimulatedCluster([host.name for host in INPUTS.cluster.cluster.hosts()])
    assert apply_on(made, INPUTS).ok
    return made


def evacuate(cluster: SimulatedCluster, to: HostName | None = None) -> ApplyResult:
    async def work() -> ApplyResult:
        async with await prepare_evacuation(engine_of(cluster), INPUTS, ONE, to) as prepared:
            return await workflow.perform(prepared)

    return run(work())


def workers(cluster: SimulatedCluster) -> set[str]:
    return {vm.worker for given in cluster.store.read().allocations.values() for vm in given.vms.values()}


@pytest.mark.parametrize("to", [None, THREE])
def test_all_vms_and_their_data_leave(cluster: SimulatedCluster, to: HostName | None) -> None:
    assert ONE in workers(cluster)
    before = sorted(found.data for found in cluster.objects().values() if found.data)
    assert evacuate(cluster, to).ok
    assert ONE not in workers(cluster)
    assert sorted(found.data for found in cluster.objects().values() if found.data) == before
    assert not cluster.hosts[ONE].objects
    assert ONE in cluster.store.cordons()
    assert cluster.store.history(1)[0].verb is Verb.EVACUATE
    assert workflow.plan(INPUTS, cluster.store).empty
    assert evacuate(cluster, to).plan.empty


def test_a_worker_that_cannot_be_reached_is_an_error_before_anything_is_stopped(cluster: SimulatedCluster) -> None:
    cluster.hosts[ONE].down = True
    before = cluster.store.read().resources
    with pytest.raises(HostUnreachable, match="its VMs cannot be copied from it") as caught:
        evacuate(cluster)
    assert "reconciler forget worker1" in (caught.value.hint or "")
    assert cluster.store.read().resources == before
    assert cluster.store.locks() == ()


def test_a_disk_that_is_gone_is_no_move_and_its_loss_must_be_accepted(cluster: SimulatedCluster) -> None:
    (disk,) = (name for name, found in cluster.hosts[ONE].objects.items() if found.resource.holds_data)
    del cluster.hosts[ONE].objects[disk]
    with pytest.raises(DataLoss, match="1 VM loses its data"):
        evacuate(cluster)
