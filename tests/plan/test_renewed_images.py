"""A renewed image is for new disks: disks that exist stay on the earlier one until they are replaced."""

from __future__ import annotations

from dataclasses import replace

from reconciler.plan.build import build_plan
from reconciler.plan.data_loss import unasked_losses
from reconciler.plan.model import Action
from reconciler.plan.snapshot import ResourceDrift, StateSnapshot, Status
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address
from tests.plan.examples import CIRROS, EMPTY, LAB1, LAB2, UBUNTU, actions, change, cluster, lab, made_of, plan
from tests.plan.replay import replay

DISK_A = Address(f"disk/{LAB1}/a")
ONE = lab({"a": {"worker": "worker1"}})
STATE: StateSnapshot = replay(EMPTY, plan(ONE))
EARLIER, RENEWED = "image/cirros-cccccccccccc@worker1", "image/cirros-eeeeeeeeeeee@worker1"


def images(cirros: str = CIRROS) -> Cluster:
    both = {
        "cirros": {"file": "cirros.qcow2", "sha256": cirros},
        "ubuntu": {"file": "ubuntu.qcow2", "sha256": UBUNTU},
    }
    return cluster(images=both)


NOW = images("e" * 64)


def test_a_disk_that_exists_stays_on_the_earlier_image() -> None:
    assert plan(ONE, on=NOW, state=STATE).empty


def test_a_new_disk_is_on_the_renewed_image() -> None:
    more = lab({"a": {"worker": "worker1"}, "b": {"worker": "worker1"}})
    found = plan(more, on=NOW, state=STATE)
    assert made_of(found, f"disk/{LAB1}/b").backing.endswith("/cirros-eeeeeeeeeeee.qcow2")
    assert made_of(found, RENEWED).sha256 == "e" * 64
    assert not {EARLIER, DISK_A} & actions(found).keys()
    after = replay(STATE, found)
    assert plan(more, on=NOW, state=after).empty
    fewer = plan(lab({"b": {"worker": "worker1"}}), on=NOW, state=after)
    assert change(fewer, EARLIER).action is Action.DELETE


def test_a_replaced_disk_is_on_the_renewed_image() -> None:
    found = build_plan(NOW, [ONE], STATE, replace=[DISK_A])
    assert made_of(found, DISK_A).backing.endswith("/cirros-eeeeeeeeeeee.qcow2")
    assert (change(found, DISK_A).reason, unasked_losses(found)) == ("asked for", ())
    assert {where: found for where, found in actions(found).items() if where.startswith("image/")} == {
        EARLIER: Action.DELETE,
        RENEWED: Action.CREATE,
    }
    assert plan(ONE, on=NOW, state=replay(STATE, found)).empty


def test_the_earlier_image_stays_while_a_disk_of_any_slice_needs_it() -> None:
    both = replay(STATE, plan(lab({"z": {"worker": "worker1"}}, key=LAB2), state=STATE))
    found = build_plan(NOW, [ONE], both, replace=[DISK_A])
    assert EARLIER not in actions(found)
    assert plan(lab({"z": {"worker": "worker1"}}, key=LAB2), on=NOW, state=replay(both, found)).empty


def test_a_disk_that_may_exist_stays_on_the_earlier_image() -> None:
    entries = {**STATE.resources, DISK_A: replace(STATE.resources[DISK_A], status=Status.CREATING)}
    found = plan(ONE, on=NOW, state=replace(STATE, resources=entries))
    assert actions(found) == {DISK_A: Action.CREATE}
    assert made_of(found, DISK_A).backing.endswith("/cirros-cccccccccccc.qcow2")


def test_without_the_earlier_image_on_the_worker_the_disk_is_replaced() -> None:
    image = STATE.resources[Address(EARLIER)]
    for other in (replace(image, status=Status.CREATING), replace(image, drift=ResourceDrift(gone=True))):
        entries = {**STATE.resources, Address(EARLIER): other}
        found = plan(ONE, on=NOW, state=replace(STATE, resources=entries))
        assert [each.address for each in unasked_losses(found)] == [DISK_A]


def test_another_image_replaces_the_disk() -> None:
    found = plan(lab({"a": {"worker": "worker1", "image": "ubuntu", "disk": "1GiB"}}), on=NOW, state=STATE)
    assert change(found, DISK_A).action is Action.REPLACE


def test_without_the_earlier_image_in_the_state_the_disk_is_replaced() -> None:
    entries = {where: entry for where, entry in STATE.resources.items() if where != EARLIER}
    found = plan(ONE, on=NOW, state=replace(STATE, resources=entries))
    assert [each.address for each in unasked_losses(found)] == [DISK_A]
