"""VMs that leave a worker: where they go, what they keep, and in which order that happens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.errors import LimitError
from reconciler.plan.build import build_plan
from reconciler.plan.model import Action, Plan
from reconciler.plan.snapshot import Cordon, ResourceState, StateSnapshot, Status
from reconciler.spec.models.cluster import Capacity
from reconciler.spec.models.names import Address, HostName, VmName
from tests.plan.examples import EMPTY, LAB1, cluster, lab, plan
from tests.plan.replay import replay

ONE, TWO, THREE = HostName("worker1"), HostName("worker2"), HostName("worker3")
A = VmName("a")
DISK = Address(f"disk/{LAB1}/a")
VMS = lab({"a": {"worker": "worker1", "internet": True}, "b": {"worker": "worker2"}})
FREE = lab({"a": {"internet": True}, "b": {}})
STATE: StateSnapshot = replay(EMPTY, plan(VMS))
CORDONED = replace(STATE, cordoned={ONE: Cordon("anna", "2026-01-01T00:00:00+00:00")})


def evacuated(to: HostName | None = None, state: StateSnapshot = CORDONED) -> Plan:
    return build_plan(cluster(), [FREE], state, evacuate={ONE: to})


def workers(found: Plan) -> dict[str, str]:
    return {name: vm.worker for name, vm in found.allocations[LAB1].vms.items()}


def moves(found: Plan) -> list[tuple[Action, str]]:
    return [(step.action, step.host) for step in found.steps if step.address == DISK]


def test_all_vms_leave_a_worker_and_keep_their_numbers() -> None:
    found = evacuated()
    assert ONE not in workers(found).values()
    had, given = STATE.allocations[LAB1].vms[A], found.allocations[LAB1].vms[A]
    assert replace(given, worker=had.worker, vnc=had.vnc) == had
    assert not found.data_lost
    assert build_plan(cluster(), [FREE], replay(CORDONED, found)).empty


def test_they_go_where_they_are_sent() -> None:
    assert workers(evacuated(THREE)) == {"a": THREE, "b": TWO}
    assert evacuated(THREE).allocations[LAB1].vms[A].vnc == STATE.allocations[LAB1].vms[A].vnc


def test_there_must_be_room() -> None:
    full = cluster()
    full = full.model_copy(
        update={"workers": tuple(one.model_copy(update={"capacity": Capacity(vms=1)}) for one in full.workers[:2])}
    )
    with pytest.raises(LimitError, match="worker2"):
        build_plan(full, [FREE], CORDONED, evacuate={ONE: None})


def test_a_vm_stops_before_its_disk_is_copied_and_starts_before_it_is_deleted() -> None:
    found = evacuated(THREE)
    order = [(step.address.partition("/")[0], step.action, step.host) for step in found.steps]
    stop, copy = order.index(("vm", Action.DELETE, ONE)), order.index(("disk", Action.UPDATE, THREE))
    start, gone = order.index(("vm", Action.CREATE, THREE)), order.index(("disk", Action.DELETE, ONE))
    assert stop < copy < min(start, gone)
    assert order.index(("image", Action.CREATE, THREE)) < copy
    assert gone < order.index(("image", Action.DELETE, ONE))


@pytest.mark.parametrize(
    ("counts", "other", "wanted", "expected"),
    [
        (ONE, THREE, THREE, [(Action.DELETE, THREE), (Action.UPDATE, THREE), (Action.DELETE, ONE)]),
        (ONE, THREE, ONE, [(Action.DELETE, THREE), (Action.UPDATE, ONE)]),
        (ONE, THREE, TWO, [(Action.DELETE, THREE), (Action.UPDATE, TWO), (Action.DELETE, ONE)]),
        (THREE, ONE, THREE, [(Action.DELETE, ONE), (Action.UPDATE, THREE)]),
        (THREE, ONE, ONE, [(Action.DELETE, ONE), (Action.UPDATE, ONE), (Action.DELETE, THREE)]),
    ],
    ids=["go on", "take back", "go elsewhere", "complete", "go back"],
)
def test_after_a_move_that_was_cut_short_the_side_that_does_not_count_is_deleted_first(
    counts: HostName, other: HostName, wanted: HostName, expected: list[tuple[Action, HostName]]
) -> None:
    disk = STATE.resources[DISK].resource
    cut = ResourceState(replace(disk, host=counts), Status.UNKNOWN, replace(disk, host=other))
    state = replace(STATE, resources={**STATE.resources, DISK: cut})
    found = plan(lab({"a": {"worker": wanted, "internet": True}, "b": {"worker": "worker2"}}), state=state)
    assert moves(found) == expected
    assert not found.data_lost
    assert [change.leftover for change in found.changes if change.address == DISK] == [replace(disk, host=other)]


def test_a_destroy_after_such_a_move_deletes_both_sides() -> None:
    disk = STATE.resources[DISK].resource
    cut = ResourceState(disk, Status.UNKNOWN, replace(disk, host=THREE))
    found = plan(state=replace(STATE, resources={**STATE.resources, DISK: cut}), destroy=[LAB1])
    assert moves(found) == [(Action.DELETE, THREE), (Action.DELETE, ONE)]


def test_vms_take_turns() -> None:
    names = [f"vm{number}" for number in range(7)]
    state = replay(EMPTY, plan(lab({name: {"worker": "worker1"} for name in names})))
    found = build_plan(cluster(), [lab(names)], state, evacuate={ONE: TWO}, moves_at_once=2)
    needs = {step.id: set(step.needs) for step in found.steps}
    for step in found.steps:
        needs[step.id] |= {more for need in step.needs for more in needs[need]}
    vms = [step for step in found.steps if step.address.startswith("vm/")]
    ids = {(step.address.rpartition("/")[2], step.action): step.id for step in vms}
    for earlier, later in zip(names, names[2:], strict=False):
        assert ids[earlier, Action.CREATE] in needs[ids[later, Action.DELETE]]
    assert ids["vm0", Action.CREATE] not in needs[ids["vm1", Action.DELETE]]
