"""A host is replaced on the simulated cluster: alive, dead, network node; also where that is cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler import workflow
from reconciler.errors import DataLoss, HostUnreachable, PlanError, ReconcilerError, StateMoved, UsageError
from reconciler.plan.model import Action, Plan
from reconciler.simulation.cluster import Checkpoint, SimulatedCluster, VirtualTimeLoop, ignore
from reconciler.simulation.hosts import HostObject
from reconciler.spec.models.names import HostName
from reconciler.state.store import Verb
from reconciler.workflow.applying import ApplyResult
from reconciler.workflow.replacement import prepare_replacement, refuse_moved
from reconciler.workflow.simulate import apply_on, engine_of

ROOT = Path(__file__).parents[2]
TOPOLOGIES = ROOT / "examples/topologies"
ONE, TWO, FOUR, GATEWAY, SECOND = map(HostName, ("worker1", "worker2", "worker4", "gateway", "gateway2"))
NEW_WORKER = "  - {name: worker4, address: 10.0.10.9}\nnetwork_node:"


class Campus:
    """Slices on simulated hosts, which include two machines that the first cluster file does not have."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "cluster.yaml"
        self.slices = [TOPOLOGIES / "triangle.yaml", TOPOLOGIES / "internet-only.yaml"]
        self.text = (ROOT / "examples/cluster.yaml").read_text()
        self.hosts = SimulatedCluster(["worker1", "worker2", "worker3", FOUR, GATEWAY, SECOND])
        assert apply_on(self.hosts, self.load()).ok
        self.text = self.text.replace("network_node:", NEW_WORKER, 1)

    def load(self) -> workflow.Inputs:
        self.file.write_text(self.text)
        return workflow.load(self.file, self.slices)

    def without(self, worker: str) -> None:
        """Take a worker out of the cluster file."""
        self.text = "".join(line for line in self.text.splitlines(keepends=True) if f"name: {worker}," not in line)

    def replace(self, old: HostName, new: HostName, *, accept: bool = False) -> ApplyResult:
        inputs = self.load()

        async def work() -> ApplyResult:
            async with await prepare_replacement(engine_of(self.hosts), inputs, old, new) as prepared:
                return await workflow.perform(prepared, accept_data_loss=accept)

        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return runner.run(work())

    def vms(self) -> dict[str, str]:
        allocations = self.hosts.store.read().allocations
        return {f"{key}/{name}": vm.worker for key, had in allocations.items() for name, vm in had.vms.items()}

    def in_state(self) -> set[HostName]:
        return {entry.resource.host for entry in self.hosts.store.read().resources.values()}

    def disks(self) -> dict[str, HostObject]:
        return {found.owner: found for found in self.hosts.objects().values() if found.resource.holds_data}


@pytest.fixture
def campus(tmp_path: Path) -> Campus:
    return Campus(tmp_path)


def test_a_worker_that_answers_gives_its_vms_to_the_new_one_with_their_data(campus: Campus) -> None:
    before = campus.vms()
    data = {owner: found.data for owner, found in campus.disks().items()}
    assert campus.replace(ONE, FOUR).ok
    assert campus.vms() == {name: FOUR if worker == ONE else worker for name, worker in before.items()}
    assert {owner: found.data for owner, found in campus.disks().items()} == data
    assert not campus.hosts.hosts[ONE].objects
    assert ONE not in campus.in_state()
    assert ONE in campus.hosts.store.cordons()
    assert campus.hosts.store.history(1)[0].verb is Verb.REPLACE_HOST
    campus.without("worker1")
    assert only_closes_other_hosts(workflow.plan(campus.load(), campus.hosts.store))


def only_closes_other_hosts(plan: Plan) -> bool:
    """Whether a plan changes nothing but the rules of the uplink, which name the addresses of all hosts."""
    return {str(change.address) for change in plan.changes} <= {"uplink/gateway"}


def dead_and_listed(campus: Campus) -> None:
    campus.hosts.hosts[ONE].down = True


def dead_and_not_listed(campus: Campus) -> None:
    campus.hosts.hosts[ONE].down = True
    campus.without("worker1")


@pytest.mark.parametrize("happens", [dead_and_listed, dead_and_not_listed])
def test_what_a_dead_worker_had_is_created_on_the_new_one_if_the_loss_is_accepted(
    campus: Campus, happens: Callable[[Campus], None]
) -> None:
    before = campus.vms()
    ids = {vm.id for had in campus.hosts.store.read().allocations.values() for vm in had.vms.values()}
    happens(campus)
    state = campus.hosts.store.read()
    with pytest.raises(DataLoss, match="lose") as caught:
        campus.replace(ONE, FOUR)
    assert "(create: its host does not come back)" in caught.value.summary
    assert campus.hosts.store.read().resources == state.resources
    result = campus.replace(ONE, FOUR, accept=True)
    assert result.ok
    assert campus.hosts.store.history(1)[0].verb is Verb.REPLACE_HOST
    lost = [change for change in result.plan.changes if change.data_lost]
    assert {change.name for change in lost} == {name for name, worker in before.items() if worker == ONE}
    assert campus.vms() == {name: FOUR if worker == ONE else worker for name, worker in before.items()}
    assert {vm.id for had in campus.hosts.store.read().allocations.values() for vm in had.vms.values()} == ids
    assert ONE not in campus.in_state()
    campus.without("worker1")
    assert only_closes_other_hosts(campus.replace(ONE, FOUR).plan)
    assert campus.replace(ONE, FOUR).plan.empty


def test_what_another_apply_has_moved_away_meanwhile_is_not_lost(campus: Campus) -> None:
    there = [where for where, entry in campus.hosts.store.read().resources.items() if entry.resource.host == ONE]
    refuse_moved(campus.hosts.store.read(), there, ONE)
    assert campus.replace(ONE, FOUR).ok
    with pytest.raises(StateMoved, match="from worker1 to worker4 meanwhile"):
        refuse_moved(campus.hosts.store.read(), there, ONE)


def gateway_replaced(campus: Campus) -> tuple[HostName, HostName]:
    campus.hosts.hosts[GATEWAY].down = True
    campus.text = campus.text.replace("network_node: {name: gateway,", "network_node: {name: gateway2,")
    assert "gateway2" in campus.text
    return GATEWAY, SECOND


def worker_dead(campus: Campus) -> tuple[HostName, HostName]:
    dead_and_not_listed(campus)
    return ONE, FOUR


def worker_alive(_: Campus) -> tuple[HostName, HostName]:
    return ONE, FOUR


@pytest.mark.parametrize("happens", [worker_alive, worker_dead, gateway_replaced])
def test_it_is_completed_wherever_it_is_cut_short(
    campus: Campus, happens: Callable[[Campus], tuple[HostName, HostName]]
) -> None:
    old, new = happens(campus)
    points: list[Checkpoint] = []
    campus.hosts.on_point = lambda _: points.append(campus.hosts.checkpoint())
    assert campus.replace(old, new, accept=True).ok
    campus.hosts.on_point = ignore
    expected, state = campus.hosts.objects(), campus.hosts.store.read()
    assert len(points) > 20
    for point in points[::4]:
        campus.hosts.restore(point.settled())
        assert campus.replace(old, new, accept=True).ok
        assert workflow.plan(campus.load(), campus.hosts.store).empty
        assert campus.hosts.objects() == expected
        assert campus.hosts.store.read().allocations == state.allocations


def test_a_network_node_is_replaced_and_no_vm_restarts(campus: Campus) -> None:
    data = {owner: found.data for owner, found in campus.disks().items()}
    gateway_replaced(campus)
    result = campus.replace(GATEWAY, SECOND)
    assert result.ok
    assert {change.action for change in result.plan.changes} == {Action.CREATE}
    assert {step.host for step in result.plan.steps} == {SECOND}
    assert {owner: found.data for owner, found in campus.disks().items()} == data
    assert GATEWAY not in campus.in_state()
    assert workflow.plan(campus.load(), campus.hosts.store).empty


def new_is_down(campus: Campus) -> tuple[HostName, HostName]:
    campus.hosts.hosts[FOUR].down = True
    return ONE, FOUR


def new_is_cordoned(campus: Campus) -> tuple[HostName, HostName]:
    campus.hosts.store.cordon(FOUR, "anna")
    return ONE, FOUR


def new_is_cordoned_and_old_dead(campus: Campus) -> tuple[HostName, HostName]:
    dead_and_listed(campus)
    return new_is_cordoned(campus)


def renamed_meanwhile(campus: Campus) -> tuple[HostName, HostName]:
    dead_and_listed(campus)
    text = campus.slices[0].read_text().replace("name: triangle", "name: round", 1)
    file = campus.file.with_name("round.yaml")
    file.write_text(text.replace("owner:", "renamed_from: triangle\nowner:", 1))
    campus.slices[0] = file
    return ONE, FOUR


def a_slice_has_no_file(campus: Campus) -> tuple[HostName, HostName]:
    dead_and_listed(campus)
    del campus.slices[0]
    return ONE, FOUR


@pytest.mark.parametrize(
    ("happens", "error", "says"),
    [
        (new_is_down, HostUnreachable, "worker4: it refuses connections"),
        (new_is_cordoned, UsageError, "worker4 is cordoned by anna"),
        (new_is_cordoned_and_old_dead, UsageError, "worker4 is cordoned by anna"),
        (renamed_meanwhile, PlanError, "admin/triangle was renamed to admin/round"),
        (a_slice_has_no_file, PlanError, "without a file here: admin/triangle"),
        (lambda _: (ONE, ONE), UsageError, "cannot be replaced by itself"),
        (lambda _: (ONE, HostName("worker9")), UsageError, "the cluster file has no host 'worker9'"),
        (lambda _: (ONE, GATEWAY), UsageError, "worker1 is a worker, and gateway is the network node"),
        (lambda _: (GATEWAY, FOUR), UsageError, "gateway is the network node"),
    ],
)
def test_what_cannot_be_replaced_is_refused_and_nothing_changes(
    campus: Campus,
    happens: Callable[[Campus], tuple[HostName, HostName]],
    error: type[ReconcilerError],
    says: str,
) -> None:
    old, new = happens(campus)
    before = campus.hosts.store.read()
    with pytest.raises(error, match=says):
        campus.replace(old, new, accept=True)
    assert campus.hosts.store.read().resources == before.resources
    assert campus.hosts.store.locks() == ()
