"""One dead host stops nothing that does not concern it, and gets nothing new."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from reconciler import workflow
from reconciler.errors import PlanError
from reconciler.simulation.cluster import SimulatedCluster
from reconciler.spec.models.names import HostName, SliceKey
from reconciler.workflow.simulate import engine_of

ROOT = Path(__file__).parents[2]
WORKERS = [HostName(f"worker{number}") for number in (1, 2, 3)]


class Cluster:
    """The example cluster in memory, with slices of VMs without links."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.simulated = SimulatedCluster([*WORKERS, "gateway", "network"])
        self.engine = engine_of(self.simulated)

    def inputs(self, *slices: str) -> workflow.Inputs:
        return workflow.load(ROOT / "examples/cluster.yaml", [self.folder / f"{name}.yaml" for name in slices])

    def write(self, name: str, vms: Sequence[str]) -> None:
        lines = "\n".join(f"  {vm}" for vm in vms)
        text = f"version: 1\nname: {name}\nowner: admin\ndefaults: {{flavor: cirros}}\nvms:\n{lines}\n"
        (self.folder / f"{name}.yaml").write_text(text)

    async def apply(self, *slices: str) -> workflow.ApplyResult:
        return await workflow.apply(self.engine, self.inputs(*slices))

    async def destroy(self, name: str) -> workflow.ApplyResult:
        return await workflow.apply(self.engine, self.inputs(), workflow.Asked(destroy=(SliceKey(f"admin/{name}"),)))

    def down(self, *hosts: str, down: bool = True) -> None:
        for host in hosts:
            self.simulated.hosts[HostName(host)].down = down

    def workers(self, name: str) -> str:
        vms = self.simulated.store.read(()).allocations[SliceKey(f"admin/{name}")].vms
        return "".join(vm.worker.removeprefix("worker") for vm in vms.values())


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


async def test_new_vms_go_to_the_workers_that_are_up(cluster: Cluster) -> None:
    cluster.write("one", ["a: {}", "b: {}", "c: {}", "d: {}"])
    cluster.down("worker2")
    assert (await cluster.apply("one")).ok
    assert cluster.workers("one") == "1313"
    cluster.write("two", ["a: {}"])
    cluster.down("worker1", "worker3")
    cluster.down("worker2", down=False)
    assert (await cluster.apply("two")).ok
    assert cluster.workers("two") == "2"


async def test_a_slice_grows_beside_its_dead_host(cluster: Cluster) -> None:
    cluster.write("one", ["a: {}", "b: {}"])
    await cluster.apply("one")
    assert cluster.workers("one") == "12"
    cluster.down("worker2", "worker3")
    cluster.write("one", ["a: {}", "b: {}", "c: {}"])
    result = await cluster.apply("one")
    assert ([each.host for each in result.unseen], cluster.workers("one")) == (["worker2"], "121")
    assert result.report is not None
    assert result.report.ok


async def test_without_any_worker_every_step_says_so_and_the_vms_are_placed_again(cluster: Cluster) -> None:
    cluster.write("one", ["a: {}"])
    cluster.down(*WORKERS)
    result = await cluster.apply("one")
    assert (result.ok, cluster.workers("one")) == (False, "1")
    cluster.down("worker2", down=False)
    assert (await cluster.apply("one")).ok
    assert cluster.workers("one") == "2"


async def test_a_dead_host_is_not_left_with_vms_that_were_never_begun(cluster: Cluster) -> None:
    cluster.write("one", ["a: {worker: worker2}"])
    cluster.down("worker2")
    unrefreshed = workflow.Asked(refresh=False)
    assert not (await workflow.apply(cluster.engine, cluster.inputs("one"), unrefreshed)).ok
    assert cluster.workers("one") == "2"
    cluster.write("one", ["a: {}"])
    assert (await cluster.apply("one")).ok
    assert cluster.workers("one") != "2"


async def test_a_new_vm_pinned_to_a_dead_host_fails_alone(cluster: Cluster) -> None:
    cluster.write("one", ["a: {worker: worker2}"])
    cluster.write("two", ["a: {}", "b: {}"])
    cluster.down("worker2")
    result = await cluster.apply("one", "two")
    assert not result.ok
    assert result.report is not None
    assert {step.step.host for step in (*result.report.failed, *result.report.skipped)} == {"worker2"}
    assert "2" not in cluster.workers("two")
    cluster.down("worker2", down=False)
    assert (await cluster.apply("one", "two")).ok
    assert cluster.workers("one") == "2"


async def test_a_vm_that_is_on_a_dead_host_may_stay_pinned_there(cluster: Cluster) -> None:
    cluster.write("one", ["a: {worker: worker2}"])
    await cluster.apply("one")
    cluster.down("worker2")
    cluster.write("one", ["a: {worker: worker2}", "b: {}"])
    result = await cluster.apply("one")
    assert result.report is not None
    assert result.report.ok
    assert cluster.workers("one") == "21"


async def test_what_a_dead_host_still_has_stops_no_other_slice(cluster: Cluster) -> None:
    for name, worker in (("one", "worker1"), ("two", "worker2"), ("three", "worker2")):
        cluster.write(name, [f"a: {{worker: {worker}, internet: true}}"])
    for name in ("one", "two", "three"):
        assert (await cluster.apply(name)).ok
    cluster.down("worker1")
    assert not (await cluster.destroy("one")).ok
    assert (await cluster.apply("two")).ok
    cluster.write("two", ["a: {worker: worker2, internet: true}", "b: {}"])
    assert (await cluster.apply("two")).ok
    assert (await cluster.destroy("two")).ok
    assert (await cluster.destroy("three")).ok
    cluster.down("worker1", down=False)
    assert (await cluster.destroy("one")).ok
    assert cluster.simulated.objects() == {}
    assert cluster.simulated.store.read(None).resources == {}


async def test_a_cordoned_worker_keeps_its_vms_and_gets_no_new_ones(cluster: Cluster) -> None:
    cluster.write("one", ["a: {}", "b: {}"])
    await cluster.apply("one")
    cluster.simulated.store.cordon(WORKERS[1], "anna")
    cluster.write("one", ["a: {}", "b: {memory: 256MiB}", "c: {}", "d: {}", "e: {}"])
    assert (await cluster.apply("one")).ok
    assert cluster.workers("one") == "12313"
    cluster.write("two", ["a: {worker: worker2}"])
    with pytest.raises(PlanError) as caught:
        await cluster.apply("two")
    assert caught.value.summary.startswith("admin/two/a has `worker: worker2`, which is cordoned by anna since 2000-")
    assert caught.value.hint == "take it out of the slice file, or run `reconciler uncordon worker2`"
    cluster.simulated.store.uncordon(WORKERS[1])
    assert (await cluster.apply("two")).ok


async def test_an_apply_names_cordoned_hosts_where_it_places_vms(cluster: Cluster) -> None:
    cluster.simulated.store.cordon(WORKERS[1], "anna")
    cluster.write("one", ["a: {}"])
    async with await workflow.prepare(cluster.engine, cluster.inputs("one")) as prepared:
        assert list(prepared.cordoned) == ["worker2"]
    await cluster.apply("one")
    cluster.write("one", ["a: {memory: 512MiB}"])
    async with await workflow.prepare(cluster.engine, cluster.inputs("one")) as prepared:
        assert not prepared.plan.empty
        assert prepared.cordoned == {}


async def test_without_an_open_worker_the_cordons_are_named(cluster: Cluster) -> None:
    cluster.write("one", ["a: {}"])
    cluster.down(*WORKERS[1:])
    cluster.simulated.store.cordon(WORKERS[0], "anna")
    with pytest.raises(PlanError) as caught:
        await cluster.apply("one")
    assert "worker1 is cordoned by anna since " in caught.value.summary
    assert "worker3 could not be reached (it refuses connections)" in caught.value.summary
    assert cluster.simulated.store.history() == ()
