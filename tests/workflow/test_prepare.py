"""An apply is prepared, approved and performed in three steps, and no event loop runs while somebody decides."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler import workflow
from reconciler.errors import PlanError, StateLost, StateMoved
from reconciler.plan.results import StepResult, StepStatus
from reconciler.plan.snapshot import StateSnapshot
from reconciler.simulation.cluster import SimulatedCluster
from reconciler.spec.models.names import Address, HostName, SliceKey
from reconciler.state.memory import MemoryStore
from reconciler.state.store import Holder
from reconciler.views.plan import plan_view
from reconciler.views.report import apply_view
from reconciler.workflow.simulate import engine_of

ROOT = Path(__file__).parents[2]
TWO_VMS = SliceKey("admin/two-vms")


@pytest.fixture
def inputs() -> workflow.Inputs:
    return workflow.load(ROOT / "examples/cluster.yaml", [ROOT / "examples/topologies/two-vms.yaml"])


@pytest.fixture
def simulation(inputs: workflow.Inputs) -> SimulatedCluster:
    return SimulatedCluster([host.name for host in inputs.cluster.cluster.hosts()])


def locks(simulation: SimulatedCluster) -> list[str]:
    return [lock.name for lock in simulation.store.locks()]


def test_locks_stay_held_between_two_runs_of_the_loop(inputs: workflow.Inputs, simulation: SimulatedCluster) -> None:
    with asyncio.Runner() as runner:
        prepared = runner.run(workflow.prepare(engine_of(simulation), inputs))
        assert locks(simulation) == [TWO_VMS]
        assert runner.run(workflow.perform(prepared)).ok
        runner.run(prepared.__aexit__(None, None, None))
    assert locks(simulation) == []
    assert workflow.plan(inputs, simulation.store).empty


async def test_whoever_declines_leaves_no_lock(inputs: workflow.Inputs, simulation: SimulatedCluster) -> None:
    async with await workflow.prepare(engine_of(simulation), inputs) as prepared:
        assert not prepared.declined().ok
    assert locks(simulation) == []
    assert simulation.store.history() == ()


async def test_a_failure_to_plan_leaves_no_lock(inputs: workflow.Inputs, simulation: SimulatedCluster) -> None:
    with pytest.raises(PlanError, match="cannot be replaced"):
        await workflow.prepare(engine_of(simulation), inputs, workflow.Asked(replace=(Address("vm/admin/none/a"),)))
    assert locks(simulation) == []


async def test_an_approval_names_the_plan_by_its_digest(inputs: workflow.Inputs, simulation: SimulatedCluster) -> None:
    async with await workflow.prepare(engine_of(simulation), inputs) as prepared:
        with pytest.raises(StateMoved, match="the plan that was approved is not this plan"):
            await workflow.perform(prepared, approved="0" * 64)
        assert simulation.store.history() == ()
        assert (await workflow.perform(prepared, approved=prepared.digest)).ok
    assert simulation.store.history()[0].digest == prepared.digest


async def test_a_digest_approved_earlier_is_good_for_the_same_plan(
    inputs: workflow.Inputs, simulation: SimulatedCluster
) -> None:
    async with await workflow.prepare(engine_of(simulation), inputs) as shown:
        digest = shown.digest
    async with await workflow.prepare(engine_of(simulation), inputs) as prepared:
        assert (await workflow.perform(prepared, approved=digest)).ok


async def test_a_lease_lost_during_the_question_is_refused(
    inputs: workflow.Inputs, simulation: SimulatedCluster
) -> None:
    async with await workflow.prepare(engine_of(simulation), inputs) as prepared:
        held = simulation.store.locks()
        with simulation.store.lock([TWO_VMS], Holder("other", "elsewhere", 1), silent=held):
            pass
        with pytest.raises(StateLost):
            await workflow.perform(prepared)
    assert simulation.objects() == {}


class CountingStore(MemoryStore):
    """A state in memory that counts how often it is read."""

    reads = 0

    def read(self, scope: Collection[SliceKey] | None = None) -> StateSnapshot:
        self.reads += 1
        return super().read(scope)


async def test_a_plan_is_made_once_if_nothing_differs(inputs: workflow.Inputs, simulation: SimulatedCluster) -> None:
    store = CountingStore(lambda: datetime.now(UTC))
    await workflow.apply(engine_of(simulation, store), inputs)
    store.reads = 0
    async with await workflow.prepare(engine_of(simulation, store), inputs) as prepared:
        assert prepared.plan.empty
    assert store.reads == 2  # for the plan, and for the resources to refresh


def test_nothing_takes_a_callback_for_approval() -> None:
    for operation in (workflow.prepare, workflow.prepare_saved, workflow.perform, workflow.apply):
        names = inspect.signature(operation).parameters
        assert not [name for name in names if name in {"approve", "accept_loss", "accept_numbers"}]


async def test_an_apply_that_follows_at_once_does_not_look_twice(
    inputs: workflow.Inputs, simulation: SimulatedCluster
) -> None:
    assert (await workflow.apply(engine_of(simulation), inputs)).ok
    before = {name: host.batches for name, host in simulation.hosts.items()}
    other = workflow.load(ROOT / "examples/cluster.yaml", [ROOT / "examples/topologies/triangle.yaml"])
    assert (await workflow.apply(engine_of(simulation), other)).ok
    sent = {name: host.batches - before[name] for name, host in simulation.hosts.items()}
    assert (sent[HostName("gateway")], sent[HostName("worker1")]) == (1, 1)


async def test_a_host_that_cannot_be_read_is_named_and_the_apply_is_not_ok(
    inputs: workflow.Inputs, simulation: SimulatedCluster
) -> None:
    assert (await workflow.apply(engine_of(simulation), inputs)).ok
    simulation.hosts[HostName("worker2")].down = True
    applied = await workflow.apply(engine_of(simulation), inputs)
    assert (applied.plan.empty, applied.ok, applied.report) == (True, False, None)
    (unseen,) = applied.unseen
    assert (unseen.host, unseen.vms) == ("worker2", 1)
    assert unseen.resources > 3
    assert unseen.reason == "it refuses connections"
    assert "".join(map(str, apply_view(applied, []).text())) == (
        "worker2 could not be read: state of 1 VM unknown: it refuses connections\n"
    )
    shown = "".join(str(block) for block in plan_view(applied.plan, applied.unseen).text())
    assert "No changes. " not in shown
    document: Any = plan_view(applied.plan, applied.unseen).document()
    assert document["hosts_unknown"] == [
        {"host": "worker2", "reason": unseen.reason, "vms": 1, "resources": unseen.resources}
    ]

    simulation.hosts[HostName("worker2")].down = False
    assert (await workflow.apply(engine_of(simulation), inputs)).ok


async def test_numbers_that_a_stopped_apply_never_used_become_free(
    inputs: workflow.Inputs, simulation: SimulatedCluster, tmp_path: Path
) -> None:
    path = tmp_path / "two-vms.yaml"
    path.write_text("version: 1\nname: two-vms\nowner: admin\n")
    emptied = workflow.load(Path(inputs.cluster.path), [path])
    for begun in (inputs, emptied):  # both applies are stopped before their first step
        simulation.store.begin(workflow.plan(begun, simulation.store), Holder("other", "elsewhere", 1), "")
    assert simulation.store.read(()).held.keys() == {TWO_VMS}
    assert (await workflow.apply(engine_of(simulation), emptied)).ok
    assert simulation.store.read(()).held == {}
    async with await workflow.prepare(engine_of(simulation), emptied) as prepared:
        assert (await workflow.perform(prepared)).report is None


async def test_a_destroy_cut_short_can_be_asked_for_again_however_many_applies_follow(
    inputs: workflow.Inputs, simulation: SimulatedCluster, tmp_path: Path
) -> None:
    store, other = simulation.store, Holder("other", "elsewhere", 1)
    await workflow.apply(engine_of(simulation), inputs)
    whole = workflow.Inputs(inputs.cluster)
    planned = workflow.plan(whole, store, workflow.Asked(destroy=(TWO_VMS,)))
    begun = store.begin(planned, other, "")
    own = [step for step in planned.steps if step.subject.slice is not None]
    store.intend(begun, own)
    store.record(begun, [StepResult(step, StepStatus.DONE) for step in own])  # and is stopped: what is shared stays
    path = tmp_path / "small.yaml"
    path.write_text("version: 1\nname: small\nowner: admin\n")
    small = workflow.load(Path(inputs.cluster.path), [path])
    for _ in range(30):
        store.finish(store.begin(workflow.plan(small, store), other, ""), "done", 0)
    assert workflow.find_slices(store, ["two-vms"], unfinished=True) == (TWO_VMS,)
