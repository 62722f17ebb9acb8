"""Tests plans of a part of a slice: only some new resources, or all without some, with numbers for all."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from reconciler.plan.build import build_plan
from reconciler.plan.model import Action, Plan
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.names import Address
from tests.plan.examples import EMPTY, LAB1, LAB2, actions, cluster, lab
from tests.plan.replay import replay

PAIR: dict[str, Any] = {"a": {"internet": True}, "b": {}}
LINKED = lab(PAIR, [["a:eth1", "b:eth1"]])
DISK = Address(f"disk/{LAB1}/a")


def part(
    written: ExpandedSlice,
    state: StateSnapshot = EMPTY,
    *,
    only: Collection[Address] | None = None,
    without: Collection[Address] = (),
) -> Plan:
    return build_plan(cluster(), [written], state, only=only, without=without)


def test_nothing_is_made_and_all_numbers_are_given() -> None:
    made = part(LINKED, only=())
    assert made.empty
    given = made.allocations[LAB1]
    assert [vm.id for vm in given.vms.values()] == [1001, 1002]
    assert [link.vlan for link in given.links.values()] == [100]


def test_only_the_requested_resources_are_created_with_what_they_depend_on() -> None:
    made = part(LINKED, only=[DISK])
    assert actions(made).keys() == {DISK, f"image/cirros-{'c' * 12}@worker1"}


def test_a_vm_brings_its_link_and_the_way_out_along() -> None:
    found = actions(part(LINKED, only=[Address(f"vm/{LAB1}/a")])).keys()
    assert {f"router/{LAB1}", f"segment/{LAB1}/a:eth1--b:eth1", "uplink/gateway", "trunk/internet@worker1"} <= found
    assert not [where for where in found if where.startswith((f"vm/{LAB1}/b", f"disk/{LAB1}/b", f"port/{LAB1}/b"))]


def test_existing_resources_are_updated_whatever_else_is_created() -> None:
    created = replay(EMPTY, part(LINKED))
    more = lab({**PAIR, "b": {"memory": "512MiB"}, "c": {}}, [["a:eth1", "b:eth1"]])
    assert actions(part(more, created, only=())) == {f"vm/{LAB1}/b": Action.UPDATE}
    fewer = lab({"a": {"internet": True}})
    gone = actions(part(fewer, created, only=()))
    assert gone[f"vm/{LAB1}/b"] is Action.DELETE
    assert Action.CREATE not in gone.values()


def test_what_is_to_be_left_out_goes_and_keeps_its_numbers() -> None:
    created = replay(EMPTY, part(LINKED))
    without = [Address(f"vm/{LAB1}/b"), Address(f"port/{LAB1}/b:eth0"), Address(f"port/{LAB1}/b:eth1")]
    stopped = part(LINKED, created, without=without)
    assert actions(stopped) == dict.fromkeys(without, Action.DELETE)
    assert stopped.allocations == part(LINKED, created).allocations
    again = part(LINKED, replay(created, stopped))
    assert actions(again) == dict.fromkeys(without, Action.CREATE)


def test_what_others_share_is_left_alone() -> None:
    other = lab({"x": {"internet": True, "worker": "worker1"}}, key=LAB2)
    created = replay(EMPTY, part(other))
    assert part(LINKED, created, only=()).empty
    assert actions(part(LINKED, created, only=[DISK])) == {DISK: Action.CREATE}
