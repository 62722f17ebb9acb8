"""Tests how a resource changes, by its state and its differences, and the reason in the plan."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from reconciler.errors import PlanError
from reconciler.plan.build import build_plan
from reconciler.plan.diff import attribute_changes, diff, entry_changes
from reconciler.plan.model import DATA_LOST, Action, Change
from reconciler.plan.order import order
from reconciler.plan.resources import KINDS, Disk, Port, Resource, Vm, attributes
from reconciler.plan.snapshot import ResourceDrift, ResourceState, Seen, Status
from reconciler.spec.models.fields import UpdatePolicy
from reconciler.spec.models.names import Address, Bytes
from tests.plan.examples import EMPTY, LAB1, actions, change, cluster, lab, made_of, plan
from tests.plan.replay import replay

WHERE = "vm/alice/lab1/a"
VM: Vm = made_of(plan(lab(["a"])), WHERE)
DIFFERENCES: dict[str, dict[str, Any]] = {
    "same": {},
    "restart": {"memory": 2**30},
    "recreate": {"directory": "/elsewhere"},
}
UNFINISHED = "the last apply did not finish this"
CREATE, UPDATE, REPLACE, DELETE = Action


def only(found: list[Change]) -> Change:
    (one,) = found
    return one


@pytest.mark.parametrize(
    ("status", "difference", "action", "reason"),
    [
        (Status.PRESENT, "restart", UPDATE, "memory changed"),
        (Status.PRESENT, "recreate", REPLACE, "directory changed"),
        (Status.CREATING, "same", CREATE, UNFINISHED),
        (Status.CREATING, "restart", CREATE, UNFINISHED),
        (Status.CREATING, "recreate", REPLACE, "directory changed"),
        (Status.DELETING, "same", CREATE, UNFINISHED),
        (Status.DELETING, "restart", UPDATE, "memory changed"),
        (Status.DELETING, "recreate", REPLACE, "directory changed"),
        (Status.UNKNOWN, "same", UPDATE, UNFINISHED),
        (Status.UNKNOWN, "restart", UPDATE, "memory changed"),
        (Status.UNKNOWN, "recreate", REPLACE, "directory changed"),
    ],
)
def test_a_resource_that_is_wanted(status: Status, difference: str, action: Action, reason: str) -> None:
    wanted = replace(VM, **DIFFERENCES[difference])
    found = only(diff({VM.address: wanted}, {VM.address: ResourceState(VM, status)}))
    assert (found.action, found.reason, found.after) == (action, reason, wanted)


def test_a_resource_that_equals_the_state_is_unchanged() -> None:
    assert diff({VM.address: VM}, {VM.address: ResourceState(VM)}) == []


def test_a_resource_that_is_not_in_the_state_is_created() -> None:
    found = only(diff({VM.address: VM}, {}))
    assert (found.action, found.reason, found.before, found.after) == (CREATE, "not in the state", None, VM)


@pytest.mark.parametrize("status", Status)
def test_a_resource_that_is_not_desired_is_deleted_in_any_status(status: Status) -> None:
    found = only(diff({}, {VM.address: ResourceState(VM, status)}))
    reason = UNFINISHED if status is Status.DELETING else "no longer in the file"
    assert (found.action, found.reason, found.before, found.after) == (DELETE, reason, VM, None)


def test_a_disk_grows_in_place_and_never_shrinks() -> None:
    disk = f"disk/{LAB1}/a"
    state = replay(EMPTY, plan(lab({"a": {"disk": "2GiB"}})))
    found = change(plan(lab({"a": {"disk": "3GiB"}}), state=state), disk)
    assert (found.action, found.reason, found.restarts) == (UPDATE, "size changed", False)
    smaller = lab({"a": {"disk": "1GiB"}})
    with pytest.raises(PlanError, match=f"{disk} cannot shrink: its size is 2GiB, and would be 1GiB"):
        plan(smaller, state=state)
    found = change(build_plan(cluster(), [smaller], state, replace=[Address(disk)]), disk)
    assert (found.action, found.data_lost) == (REPLACE, True)


def test_a_disk_whose_growth_may_be_done_does_not_shrink() -> None:
    made = plan(lab(["a"]))
    where = Address(f"disk/{LAB1}/a")
    state = replay(EMPTY, made)
    disk = made_of(made, where)
    grown = ResourceState(disk, Status.UNKNOWN, pending=replace(disk, size=Bytes(2**31)))
    begun = replace(state, resources={**state.resources, where: grown})
    created = replace(state, resources={**state.resources, where: ResourceState(grown.may_exist(), Status.CREATING)})
    for stopped in (begun, created):
        with pytest.raises(PlanError, match="cannot shrink: its size is 2GiB, and would be 1GiB"):
            plan(lab(["a"]), state=stopped)
    assert change(plan(lab({"a": {"disk": "2GiB"}}), state=begun), where).action is UPDATE


def test_a_disk_of_another_image_may_be_smaller() -> None:
    state = replay(EMPTY, plan(lab({"a": {"disk": "2GiB"}})))
    found = change(plan(lab({"a": {"disk": "1GiB", "image": "ubuntu"}}), state=state), f"disk/{LAB1}/a")
    assert (found.action, found.data_lost) == (REPLACE, True)


def test_who_asked_for_a_removal() -> None:
    state = {VM.address: ResourceState(VM)}
    assert only(diff({}, state, destroyed=[LAB1])).reason == "asked for"
    shared = replace(VM, slice=None)
    assert only(diff({}, {VM.address: ResourceState(shared)})).reason == "no slice needs it any more"


def test_attributes_are_named_with_what_they_cost() -> None:
    found = attribute_changes(VM, replace(VM, memory=Bytes(2**30), vnc=5999))
    assert [(item.name, item.before, item.after, item.policy) for item in found] == [
        ("memory", 2**28, 2**30, UpdatePolicy.RESTART),
        ("vnc", 5901, 5999, UpdatePolicy.RESTART),
    ]


def test_the_costliest_attribute_is_the_reason() -> None:
    found = only(diff({VM.address: replace(VM, memory=Bytes(2**30), disk="/x")}, {VM.address: ResourceState(VM)}))
    assert (found.action, found.reason) == (REPLACE, "disk changed")
    assert [item.name for item in found.attributes] == ["disk", "memory"]


def test_what_needs_a_replaced_resource_is_replaced_with_it() -> None:
    state = replay(EMPTY, plan(lab(["a"])))
    made = build_plan(cluster(), [lab(["a"])], state, replace=[Address("disk/alice/lab1/a")])
    assert actions(made) == {"disk/alice/lab1/a": REPLACE, WHERE: REPLACE}
    assert change(made, "disk/alice/lab1/a").reason == "asked for"
    assert change(made, WHERE).reason == "disk/alice/lab1/a is replaced"


def test_a_restart_is_part_of_the_replacement_that_comes_anyway() -> None:
    state = replay(EMPTY, plan(lab(["a"])))
    wanted = [lab({"a": {"memory": "512MiB"}})]
    made = build_plan(cluster(), wanted, state, replace=[Address("disk/alice/lab1/a")])
    assert change(made, WHERE).action is REPLACE
    assert [item.name for item in change(made, WHERE).attributes] == ["memory"]
    assert made.counts.restarts == 0


def test_replacement_can_be_asked_for() -> None:
    state = replay(EMPTY, plan(lab(["a"])))
    desired = {where: entry.resource for where, entry in state.resources.items()}
    found = diff(desired, state.resources, replaced=[Address("port/alice/lab1/a:eth0")])
    assert [(item.address, item.reason) for item in found] == [
        ("port/alice/lab1/a:eth0", "asked for"),
        (WHERE, "port/alice/lab1/a:eth0 is replaced"),
    ]


def test_every_attribute_that_is_compared_has_a_policy() -> None:
    for noun in KINDS.values():
        own = {item.name for item in fields(noun) if item.compare} - set(Resource.__dataclass_fields__)
        assert own | {"host"} == set(attributes(noun.kind))


def test_policies_of_the_file_reach_the_resources() -> None:
    assert attributes(Disk.kind)["backing"] is UpdatePolicy.RECREATE
    assert attributes(Vm.kind)["memory"] is UpdatePolicy.RESTART
    assert attributes(Port.kind)["mtu"] is UpdatePolicy.LIVE


def test_a_step_comes_after_what_it_depends_on() -> None:
    made = plan(lab({"a": {"internet": True}, "b": {}}, [["a", "b"]]))
    number = {str(step.address): step.id for step in made.steps}
    needs = {(str(step.address), str(made.steps[need - 1].address)) for step in made.steps for need in step.needs}
    assert len(number) == len(made.steps)
    assert {
        (WHERE, "disk/alice/lab1/a"),
        (WHERE, "port/alice/lab1/a:eth1"),
        ("disk/alice/lab1/a", "image/cirros-cccccccccccc@worker1"),
        ("segment/alice/lab1/a:eth1--b:eth1", "router/alice/lab1"),
        ("segment/alice/lab1/a:eth1--b:eth1", "trunk/alice/lab1@gateway"),
        ("reservation/alice/lab1/a:eth0", "uplink/gateway"),
        ("uplink/gateway", "trunk/internet@gateway"),
        ("port/alice/lab1/a:eth0", "trunk/internet@worker1"),
    } <= needs
    assert all(number[before] < number[after] for after, before in needs)
    assert not any(after == WHERE and before.startswith(("segment/", "reservation/")) for after, before in needs)


def test_a_vm_does_not_wait_for_the_network_node_but_is_removed_before_what_it_uses_there() -> None:
    state = replay(EMPTY, plan(lab({"a": {"internet": True}, "b": {}}, [["a", "b"]])))
    made = plan(state=state, destroy=(LAB1,))
    number = {str(step.address): step.id for step in made.steps}
    needs = {str(step.address): set(step.needs) for step in made.steps}
    for where in ("segment/alice/lab1/a:eth1--b:eth1", "reservation/alice/lab1/a:eth0"):
        assert number[WHERE] in needs[where]


def test_a_replacement_is_a_removal_and_then_a_creation() -> None:
    state = replay(EMPTY, plan(lab(["a"])))
    made = build_plan(cluster(), [lab(["a"])], state, replace=[Address("disk/alice/lab1/a")])
    assert [(step.id, step.action, step.address, step.needs) for step in made.steps] == [
        (1, DELETE, WHERE, ()),
        (2, DELETE, "disk/alice/lab1/a", (1,)),
        (3, CREATE, "disk/alice/lab1/a", (2,)),
        (4, CREATE, WHERE, (1, 3)),
    ]


def test_a_nic_is_released_before_its_port_is_removed() -> None:
    state = replay(EMPTY, plan(lab({"a": {"interfaces": 2}})))
    made = plan(lab({"a": {"interfaces": 1}}), state=state)
    assert [(step.action, step.address, step.needs) for step in made.steps] == [
        (UPDATE, WHERE, ()),
        (DELETE, "port/alice/lab1/a:eth2", (1,)),
    ]


def test_a_circle_is_refused_by_its_members() -> None:
    one = replace(VM, address=Address("vm/one"), needs=(Address("vm/two"),))
    two = replace(VM, address=Address("vm/two"), needs=(Address("vm/one"),))
    with pytest.raises(PlanError, match=r"in a circle: vm/(one -> vm/two|two -> vm/one)$"):
        order(diff({one.address: one, two.address: two}, {}))


def test_a_replacement_that_was_asked_for_is_planned_with_what_needs_it() -> None:
    state = replay(EMPTY, plan(lab(["a", "b"])))
    made = build_plan(cluster(), [lab(["a", "b"])], state, replace=[Address("disk/alice/lab1/a")])
    assert actions(made) == {"disk/alice/lab1/a": REPLACE, WHERE: REPLACE}
    assert change(made, "disk/alice/lab1/a").reason == "asked for"


def test_a_resource_that_does_not_exist_cannot_be_replaced() -> None:
    state = replay(EMPTY, plan(lab(["a"])))
    with pytest.raises(PlanError, match=r"^vm/alice/lab1/b cannot be replaced") as refused:
        build_plan(cluster(), [lab(["a", "b"])], state, replace=[Address("vm/alice/lab1/b")])
    assert refused.value.hint == "did you mean `vm/alice/lab1/a`?"


def gone(where: str) -> dict[Address, ResourceDrift]:
    return {Address(where): ResourceDrift(gone=True)}


def test_a_missing_resource_is_created_again_and_a_vm_that_held_it_open_is_replaced() -> None:
    state = replay(EMPTY, plan(lab(["a"])))
    found = plan(lab(["a"]), state=state.seen(Seen(gone("disk/alice/lab1/a"))))
    assert change(found, "disk/alice/lab1/a").reason == DATA_LOST
    assert (found.data_lost, found.counts.lost) == ((change(found, "disk/alice/lab1/a"),), 1)
    assert actions(found) == {"disk/alice/lab1/a": Action.CREATE, WHERE: REPLACE}
    assert change(found, WHERE).reason == "disk/alice/lab1/a is created again"


def test_a_vm_that_is_gone_itself_is_only_made_again() -> None:
    state = replay(EMPTY, plan(lab(["a"])))
    found = plan(lab(["a"]), state=state.seen(Seen(gone("port/alice/lab1/a:eth0") | gone(WHERE))))
    assert actions(found) == {"port/alice/lab1/a:eth0": Action.CREATE, WHERE: Action.CREATE}


def test_what_was_changed_by_hand_is_updated_and_never_replaced() -> None:
    state = replay(EMPTY, plan(lab(links=[["a", "b"]])))
    where = Address("segment/alice/lab1/a:eth1--b:eth1")
    found = plan(
        lab(links=[["a", "b"]]), state=state.seen(Seen({where: ResourceDrift(gone=False, values={"vlan": 7})}))
    )
    assert actions(found) == {where: Action.UPDATE}
    assert change(found, where).reason == "vlan changed on gateway"
    assert [(item.name, item.before, item.after) for item in change(found, where).attributes] == [("vlan", 7, 100)]


def test_an_image_is_restored_before_a_vm_is_started_again_on_it() -> None:
    state = replay(EMPTY, plan(lab(["a"])))
    (image,) = (where for where in state.resources if where.startswith("image/"))
    seen = state.seen(Seen({image: ResourceDrift(gone=False, values={"sha256": "not verified"})}))
    made = build_plan(cluster(), [lab(["a"])], seen, replace=[Address(WHERE)])
    assert actions(made) == {image: Action.UPDATE, WHERE: REPLACE}
    (restored,) = (step for step in made.steps if step.action is UPDATE)
    (started,) = (step for step in made.steps if step.action is CREATE)
    assert restored.id in started.needs
    assert made.disturbed == ()


def test_the_entry_of_a_list_that_changes_is_named() -> None:
    one, other = {"tap": "tap1", "mac": "52:54:00:00:00:01"}, {"tap": "tap2", "mac": "52:54:00:00:00:02"}
    assert entry_changes([one, other], [one, other | {"mac": "52:54:00:00:00:03"}]) == {
        "[1].mac": ("52:54:00:00:00:02", "52:54:00:00:00:03")
    }
    assert entry_changes([one], [one, other]) == {"[1]": (None, other)}
    assert entry_changes([one, other], [one]) == {"[1]": (other, None)}
    assert entry_changes([100, 101], [100]) == entry_changes([], [one]) == {}
