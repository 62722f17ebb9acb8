"""Tests the views of slices: their VMs, NICs, addresses and links."""

from __future__ import annotations

from reconciler.plan.snapshot import StateSnapshot
from reconciler.views.slices import NicView, SliceView, Sync, slice_views
from tests.plan.examples import EMPTY, LAB1, LAB2, lab, plan
from tests.plan.replay import replay

START = plan(lab({"web": {"internet": True}, "db": {}}, [["web", "db"]]))
STATE = replay(EMPTY, START)


def view(state: StateSnapshot) -> SliceView:
    (found,) = slice_views(state)
    return found


def test_a_slice_as_users_know_it() -> None:
    found = view(STATE)
    assert (found.key, found.id, found.pool, found.sync) == (LAB1, 1000, ("100-119",), Sync.SYNCED)
    db, web = found.vms
    assert (db.name, db.id, db.worker, db.status, db.vnc) == ("db", 1001, "worker1", "present", "127.0.0.1:5901")
    assert web.serial == "/var/lib/reconciler/vms/1002/serial.sock"
    assert web.disk == "/var/lib/reconciler/vms/1002/web_img.qcow2"
    assert web.nics == (
        NicView("eth0", "52:54:00:03:ea:00", "tap1002-0", 400, "10.60.7.2"),
        NicView("eth1", "52:54:00:03:ea:01", "tap1002-1", 100, "192.168.100.3"),
    )
    assert db.nics[0] == NicView("eth0", "52:54:00:03:e9:00", "tap1001-0", None, None)


def test_a_link_with_its_router() -> None:
    (link,) = view(STATE).links
    assert (link.key, link.id, link.vlan, link.subnet, link.gateway, link.status) == (
        "db:eth1--web:eth1",
        1,
        100,
        "192.168.100.0/24",
        "192.168.100.1",
        "present",
    )


def test_the_status_of_a_link_without_a_router_is_that_of_its_ports() -> None:
    silent = {"endpoints": ["a", "b"], "dhcp": False, "gateway": False}
    (link,) = view(replay(EMPTY, plan(lab(links=[silent])))).links
    assert (link.gateway, link.status) == (None, "present")


def test_what_is_not_there_yet_is_missing() -> None:
    found = view(replay(EMPTY, START, 0))
    assert found.sync is Sync.OUT_OF_SYNC
    assert [vm.status for vm in found.vms] == ["missing", "missing"]
    assert [link.status for link in found.links] == ["missing"]


def test_what_an_apply_left_unfinished_is_shown_so() -> None:
    found = view(replay(EMPTY, START, len(START.steps) - 1))
    assert found.sync is Sync.OUT_OF_SYNC
    assert sorted(vm.status for vm in found.vms) == ["creating", "present"]
    gone = plan(state=STATE, destroy=[LAB1])
    port = next(step.id for step in gone.steps if step.address == "port/alice/lab1/db:eth1")
    assert [link.status for link in view(replay(STATE, gone, port - 1)).links] == ["deleting"]


def test_slices_are_in_natural_order() -> None:
    keys = ["alice/lab10", "alice/lab2", str(LAB2)]
    state = replay(EMPTY, plan(*(lab([], key=key) for key in keys)))
    assert [found.key for found in slice_views(state)] == ["alice/lab2", "alice/lab10", "bob/lab2"]
