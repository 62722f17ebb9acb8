"""Renamed slices, VMs and owners in whole applies on simulated hosts: locks, prunes, evacuations, copies, errors."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from reconciler import workflow
from reconciler.engine import Engine
from reconciler.errors import Code, DataLoss, PlanError, SpecError, StateLocked, StateMoved
from reconciler.plan.model import Plan
from reconciler.simulation.cluster import SimulatedCluster, VirtualTimeLoop
from reconciler.spec.models.names import HostName, SliceKey
from reconciler.state.store import Holder
from reconciler.workflow.applying import ApplyResult, PreparedApply, prepare, prepare_saved
from reconciler.workflow.evacuation import prepare_evacuation
from reconciler.workflow.simulate import apply_on, engine_of

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "examples/cluster.yaml"
OLD, NEW = SliceKey("admin/lab1"), SliceKey("admin/lab2")
LAB1 = """\
version: 1
name: lab1
owner: admin
defaults: {flavor: cirros}
vms: {www: {internet: true}, db: {}}
links: [[www, db]]
"""
LAB2 = LAB1.replace("name: lab1", "name: lab2\nrenamed_from: lab1").replace("{www: {", "{web: {renamed_from: www, ")
LAB2 = LAB2.replace("[www, db]", "[web, db]")
OTHER = LAB1.replace("name: lab1", "name: other")
ONE = HostName("worker1")


class Campus:
    """A folder with slice files, and simulated hosts with their state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts = SimulatedCluster([host.name for host in workflow.load(CLUSTER, []).cluster.cluster.hosts()])

    def load(self, cluster: Path = CLUSTER, **files: str) -> workflow.Inputs:
        for old in self.folder.glob("*.yaml"):
            old.unlink()
        for name, text in files.items():
            (self.folder / f"{name}.yaml").write_text(text)
        return workflow.load(cluster, [self.folder])

    def apply(self, inputs: workflow.Inputs) -> ApplyResult:
        applied = apply_on(self.hosts, inputs)
        assert applied.ok
        return applied

    def keys(self) -> set[SliceKey]:
        return {*self.hosts.store.read().allocations}

    def data(self) -> list[bytes]:
        return sorted(found.data for found in self.hosts.objects().values() if found.data)


@pytest.fixture
def campus(tmp_path: Path) -> Campus:
    made = Campus(tmp_path)
    made.apply(made.load(lab1=LAB1))
    return made


def test_an_apply_renames_and_the_next_plan_is_empty(campus: Campus) -> None:
    data = campus.data()
    inputs = campus.load(lab2=LAB2)
    applied = campus.apply(inputs)
    assert applied.plan.counts.renamed == len(applied.plan.steps)
    assert campus.keys() == {NEW}
    assert campus.data() == data
    assert {found.resource.slice for found in campus.hosts.objects().values()} == {None, NEW}
    assert workflow.plan(inputs, campus.hosts.store).empty
    assert campus.hosts.store.history(1)[0].slices == (NEW,)


def test_another_apply_of_the_slice_under_its_former_name_is_waited_for(campus: Campus) -> None:
    inputs = campus.load(lab2=LAB2)
    with (
        campus.hosts.store.lock({OLD}, Holder("anna", "elsewhere", 1)),
        pytest.raises(StateLocked, match="admin/lab1"),
    ):
        apply_on(campus.hosts, inputs)
    assert campus.keys() == {OLD}


def test_a_prune_spares_what_was_renamed(campus: Campus) -> None:
    inputs = campus.load(lab2=LAB2)
    asked = workflow.asked(inputs, campus.hosts.store, [campus.folder], None, prune=True, allow_many=False)
    assert asked.destroy == ()
    assert apply_on(campus.hosts, inputs, asked).plan.counts.destroy == 0


def test_both_names_in_the_state_are_an_error_at_the_line(campus: Campus) -> None:
    both = LAB2.replace("renamed_from: lab1\n", "").replace("renamed_from: www, ", "")
    campus.apply(campus.load(lab1=LAB1, lab2=both))
    with pytest.raises(SpecError) as caught:
        workflow.plan(campus.load(lab2=LAB2), campus.hosts.store)
    (problem,) = caught.value.found
    assert problem.code is Code.RENAME
    assert problem.summary == "slice admin/lab2 cannot be renamed from admin/lab1: the state has admin/lab2 too"
    assert problem.location is not None
    assert (problem.location.line, problem.location.column) == (3, 15)


def test_both_names_of_a_vm_in_the_state_are_an_error_at_the_line(campus: Campus) -> None:
    campus.apply(campus.load(lab1=LAB1.replace("{www: {internet: true}, ", "{web: {}, www: {internet: true}, ")))
    renamed = LAB1.replace("{www: {", "{web: {renamed_from: www, ").replace("[www,", "[web,")
    with pytest.raises(SpecError) as caught:
        workflow.plan(campus.load(lab1=renamed), campus.hosts.store)
    (problem,) = caught.value.found
    assert problem.summary == "VM web cannot be renamed from www: the state has both in admin/lab1"
    assert problem.location is not None
    assert problem.location.line == 5


def test_an_owner_is_renamed_in_the_cluster_file_and_must_be_within_its_paths(campus: Campus) -> None:
    cluster = campus.folder / "cluster.yaml"
    text = CLUSTER.read_text().replace("  admin:", "  root: {renamed_from: admin, paths: [slices/*]}\n  other:")

    def load(folder: Path) -> workflow.Inputs:
        folder.mkdir(exist_ok=True)
        (folder / "lab.yaml").write_text(LAB1.replace("owner: admin", "owner: root"))
        cluster.write_text(text)
        return workflow.load(cluster, [folder])

    with pytest.raises(SpecError, match="problems in the files: 1"):
        load(campus.folder / "elsewhere")
    campus.apply(load(campus.folder / "slices"))
    assert campus.keys() == {SliceKey("root/lab1")}


def test_an_evacuation_renames_too(campus: Campus) -> None:
    inputs = campus.load(lab2=LAB2)
    data = campus.data()

    async def work() -> ApplyResult:
        async with await prepare_evacuation(engine_of(campus.hosts), inputs, ONE, None) as prepared:
            return await workflow.perform(prepared)

    assert run(work()).ok
    assert campus.keys() == {NEW}
    assert not campus.hosts.hosts[ONE].objects
    assert campus.data() == data
    assert workflow.plan(inputs, campus.hosts.store).empty


def test_an_evacuation_needs_the_file_under_either_name(campus: Campus) -> None:
    with pytest.raises(PlanError, match="without a file here: admin/lab1"):
        run(prepare_evacuation(engine_of(campus.hosts), campus.load(other=OTHER), ONE, None))


def test_a_saved_plan_renames_or_is_stale(campus: Campus) -> None:
    inputs = campus.load(lab2=LAB2)
    saved = workflow.plan(inputs, campus.hosts.store)
    engine = engine_of(campus.hosts)
    assert run(perform_saved(engine, saved, inputs)).ok
    assert campus.keys() == {NEW}
    with pytest.raises(StateMoved):
        run(perform_saved(engine, saved, inputs))


async def perform_saved(engine: Engine, saved: Plan, inputs: workflow.Inputs) -> ApplyResult:
    async with await prepare_saved(engine, saved, inputs) as prepared:
        assert {lock.name for lock in prepared.locks} == {OLD, NEW}
        return await workflow.perform(prepared)


def test_a_disk_that_is_missing_is_no_rename_and_its_loss_must_be_accepted(campus: Campus) -> None:
    host, disk = next(place for place, found in campus.hosts.objects().items() if found.data)
    del campus.hosts.hosts[host].objects[disk]

    async def work() -> ApplyResult:
        async with await prepare(engine_of(campus.hosts), campus.load(lab2=LAB2)) as prepared:
            return await workflow.perform(prepared)

    with pytest.raises(DataLoss, match="1 VM loses its data"):
        run(work())
    assert campus.keys() == {OLD}


def test_a_former_name_is_not_used_again_while_a_host_does_not_know_of_the_rename(campus: Campus) -> None:
    campus.hosts.hosts[ONE].down = True
    assert not apply_on(campus.hosts, campus.load(lab2=LAB2)).ok
    campus.hosts.hosts[ONE].down = False
    with pytest.raises(PlanError, match="admin/lab1 was renamed to admin/lab2, and worker1 still has"):
        workflow.plan(campus.load(lab1=LAB1), campus.hosts.store)
    campus.apply(campus.load(lab2=LAB2))
    campus.apply(campus.load(lab1=LAB1, lab2=LAB2.replace("renamed_from: lab1\n", "")))


def test_hosts_found_half_renamed_show_no_drift(campus: Campus) -> None:
    """The state says that a step is not done, but the host has done it; another host has not begun."""
    inputs = campus.load(lab2=LAB2)
    start = campus.hosts.checkpoint()
    campus.apply(inputs)
    half = campus.hosts.hosts[ONE].copy()
    campus.hosts.restore(start)

    async def work() -> PreparedApply:
        async with await prepare(engine_of(campus.hosts), inputs) as prepared:
            campus.hosts.store.begin(prepared.plan, Holder("anna", "model", 2**30), "")
        campus.hosts.hosts[ONE] = half
        return await prepare(engine_of(campus.hosts), inputs)

    prepared = run(work())
    assert not prepared.refreshed.drifted
    assert {change.action for change in prepared.plan.changes} == {"update"}


T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
