"""Which plans lose the data of VMs, how they say so, and which losses nobody asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.plan.build import build_plan
from reconciler.plan.data_loss import unasked_losses
from reconciler.plan.model import Plan
from reconciler.plan.snapshot import ResourceDrift, Seen, StateSnapshot, Status
from reconciler.spec.models.names import Address, SliceKey
from reconciler.views.plan_json import plan_data
from reconciler.views.plan_text import render_text, summary
from tests.plan.examples import EMPTY, LAB1, LAB2, cluster, lab, plan
from tests.plan.replay import replay

A, B = Address(f"disk/{LAB1}/a"), Address(f"disk/{LAB1}/b")
VM_A = Address(f"vm/{LAB1}/a")
STATE: StateSnapshot = replay(EMPTY, plan(lab({"a": {"worker": "worker1"}, "b": {"worker": "worker2"}})))
BOTH = lab({"a": {"worker": "worker1"}, "b": {"worker": "worker2"}})


def lost(found: Plan) -> set[str]:
    return {change.address for change in found.data_lost}


def unasked(found: Plan) -> set[str]:
    return {change.address for change in unasked_losses(found)}


def test_a_change_that_replaces_disks_was_not_asked_for() -> None:
    found = plan(lab({"a": {"worker": "worker1", "image": "ubuntu"}, "b": {"image": "ubuntu"}}), state=STATE)
    assert lost(found) == unasked(found) == {A, B}
    assert found.counts.lost == 2
    assert summary(found).endswith(" 2 VMs lose their data.")
    assert render_text(found).count("; its data is lost\n") == 2
    assert {item["address"] for item in plan_data(found)["resource_changes"] if item["data_lost"]} == {A, B}


def test_a_vm_under_a_new_name_was_not_asked_to_be_deleted() -> None:
    found = plan(lab({"a": {"worker": "worker1"}, "c": {}}), state=STATE)
    assert lost(found) == unasked(found) == {B}
    assert summary(found).endswith(" 1 VM loses its data.")


@pytest.mark.parametrize("key", [LAB2, SliceKey("bob/lab1"), SliceKey("alice/lab2")])
def test_a_slice_under_a_new_owner_or_name_was_not_asked_to_be_destroyed(key: SliceKey) -> None:
    found = plan(lab({"a": {"worker": "worker1"}, "b": {"worker": "worker2"}}, key=key), state=STATE, destroy=[LAB1])
    assert lost(found) == unasked(found) == {A, B}


def test_a_missing_disk_was_not_asked_for() -> None:
    found = plan(BOTH, state=STATE.seen(Seen({A: ResourceDrift(gone=True)})))
    assert lost(found) == unasked(found) == {A}


def test_a_slice_that_is_destroyed_by_name_loses_its_data_as_asked() -> None:
    found = plan(state=STATE, destroy=[LAB1])
    assert (lost(found), unasked(found)) == ({A, B}, set())
    assert summary(found).endswith(" 2 VMs lose their data.")


def test_a_vm_that_is_removed_from_its_file_loses_its_data_as_asked() -> None:
    found = plan(lab({"a": {"worker": "worker1"}}), state=STATE)
    assert (lost(found), unasked(found)) == ({B}, set())


def test_a_vm_that_is_created_again_is_not_a_new_name_for_a_removed_one() -> None:
    found = plan(lab({"a": {"worker": "worker1"}}), state=STATE.seen(Seen({VM_A: ResourceDrift(gone=True)})))
    assert (lost(found), unasked(found)) == ({B}, set())


def test_a_disk_that_is_replaced_by_its_address_loses_its_data_as_asked() -> None:
    found = build_plan(cluster(), [BOTH], STATE, replace=[A])
    assert (lost(found), unasked(found)) == ({A}, set())


def test_disks_that_are_replaced_with_their_image_were_not_asked_for() -> None:
    (image,) = (where for where in STATE.resources if where.startswith("image/") and where.endswith("@worker1"))
    found = build_plan(cluster(), [BOTH], STATE, replace=[image])
    assert lost(found) == unasked(found) == {A}


def test_a_vm_that_is_replaced_keeps_its_disk() -> None:
    assert lost(build_plan(cluster(), [BOTH], STATE, replace=[VM_A])) == set()


@pytest.mark.parametrize("status", Status)
def test_a_disk_that_may_exist_may_hold_data(status: Status) -> None:
    entries = {
        where: replace(entry, status=status) if where in (A, B) else entry for where, entry in STATE.resources.items()
    }
    wanted = lab({"a": {"worker": "worker1", "image": "ubuntu"}, "b": {"image": "ubuntu"}})
    assert lost(plan(wanted, state=replace(STATE, resources=entries))) == {A, B}


def test_a_deletion_that_was_begun_is_finished_without_another_question() -> None:
    entries = {**STATE.resources, B: replace(STATE.resources[B], status=Status.DELETING)}
    found = plan(lab({"a": {"worker": "worker1"}, "c": {}}), state=replace(STATE, resources=entries))
    assert (lost(found), unasked(found)) == ({B}, set())


def test_changes_that_keep_disks_lose_nothing() -> None:
    for wanted in (
        BOTH,
        lab({"a": {"worker": "worker1", "disk": "2GiB"}, "b": {"worker": "worker2"}}),
        lab({"a": {"worker": "worker1", "memory": "512MiB"}, "b": {"worker": "worker2"}}, [["a", "b"]]),
    ):
        assert lost(plan(wanted, state=STATE)) == set()
