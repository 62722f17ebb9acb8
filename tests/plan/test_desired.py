"""Tests the resources of a slice: the VLANs of trunks, the leases of guests, and what slices share."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.plan.model import Action, Plan
from reconciler.plan.resources import Lease, Port, Segment, Trunk
from tests.plan.examples import CIRROS, EMPTY, LAB1, LAB2, actions, change, cluster, lab, made_of, plan
from tests.plan.replay import replay, within

APART: dict[str, Any] = {"a": {"worker": "worker1"}, "b": {"worker": "worker2"}}
TOGETHER: dict[str, Any] = {"a": {"worker": "worker1"}, "b": {"worker": "worker1"}}
SILENT = {"dhcp": False, "gateway": False}


def trunks(made: Plan) -> dict[str, tuple[int, ...]]:
    found = [item.after for item in made.changes if isinstance(item.after, Trunk)]
    return {trunk.address.removeprefix("trunk/"): trunk.vlans for trunk in found}


@pytest.mark.parametrize(
    ("vms", "link", "carried"),
    [
        (APART, {}, {"worker1", "worker2", "gateway"}),
        (APART, SILENT, {"worker1", "worker2"}),
        (TOGETHER, {}, {"worker1", "gateway"}),
        (TOGETHER, SILENT, set()),
    ],
)
def test_a_trunk_carries_only_vlans_that_cross_it(vms: Any, link: dict[str, Any], carried: set[str]) -> None:
    made = plan(lab(vms, [{"endpoints": ["a", "b"], **link}]))
    assert trunks(made) == {f"{LAB1}@{host}": (100,) for host in carried}


@pytest.mark.parametrize(
    ("settings", "segments"), [({}, 1), ({"dhcp": False}, 1), ({"gateway": False}, 1), (SILENT, 0)]
)
def test_a_router_exists_if_a_link_needs_it(settings: dict[str, Any], segments: int) -> None:
    kinds = [item.subject.kind for item in plan(lab(links=[{"endpoints": ["a", "b"], **settings}])).changes]
    assert (kinds.count(Segment.kind), kinds.count("router")) == (segments, segments)  # type: ignore[arg-type]


def leases(made: Plan, key: str) -> dict[str, bool]:
    segment: Segment = made_of(made, f"segment/{LAB1}/{key}")
    return {lease.hostname: lease.default_route for lease in segment.leases}


def test_a_guest_routes_through_its_first_link_with_a_gateway() -> None:
    made = plan(lab(links=[["a:eth1", "b:eth1"], ["a:eth2", "b:eth2"]]))
    assert leases(made, "a:eth1--b:eth1") == {"a": True, "b": True}
    assert leases(made, "a:eth2--b:eth2") == {"a": False, "b": False}


def test_a_guest_on_the_internet_routes_through_eth0() -> None:
    made = plan(lab({"a": {"internet": True}, "b": {}}, [["a", "b"]]))
    assert leases(made, "a:eth1--b:eth1") == {"a": False, "b": True}


@pytest.mark.parametrize("setting", ["dhcp", "gateway"])
def test_a_guest_gets_its_default_route_if_dhcp_announces_it(setting: str) -> None:
    made = plan(lab(links=[{"endpoints": ["a:eth1", "b:eth1"], setting: False}, ["a:eth2", "b:eth2"]]))
    assert leases(made, "a:eth2--b:eth2") == {"a": True, "b": True}
    assert not any(leases(made, "a:eth1--b:eth1").values())


def test_leases_follow_the_ends_of_the_link() -> None:
    segment = made_of(plan(lab(links=[["b", "a"]])), f"segment/{LAB1}/a:eth1--b:eth1")
    assert segment.leases == (
        Lease("52:54:00:03:e9:01", "192.168.100.2", "a", default_route=True),
        Lease("52:54:00:03:ea:01", "192.168.100.3", "b", default_route=True),
    )


def test_an_internet_vm_has_a_reservation_and_a_guarded_port() -> None:
    made = plan(lab({"a": {"internet": True}, "b": {}}))
    reservation = made_of(made, "reservation/alice/lab1/a:eth0")
    assert (reservation.ip, reservation.mac, reservation.hostname) == ("10.60.7.2", "52:54:00:03:e9:00", "a")
    guarded = {
        item.address: item.after.vlan
        for item in made.changes
        if isinstance(item.after, Port) and item.after.gateway_mac
    }
    assert guarded == {"port/alice/lab1/a:eth0": 400}
    assert "reservation/alice/lab1/b:eth0" not in actions(made)
    assert trunks(made) == {"internet@gateway": (400,), "internet@worker1": (400,)}


def test_the_last_internet_vm_takes_the_uplink_with_it() -> None:
    online, both = {"a": {"internet": True}}, replay(EMPTY, plan(lab({"a": {"internet": True}})))
    both = replay(both, plan(lab(online, key=LAB2), state=both))
    first = plan(lab({"a": {}}), state=both)
    assert actions(first) == {
        "trunk/internet@worker1": Action.DELETE,
        "reservation/alice/lab1/a:eth0": Action.DELETE,
        "port/alice/lab1/a:eth0": Action.UPDATE,
        "vm/alice/lab1/a": Action.UPDATE,
    }
    last = plan(state=replay(both, first), destroy=[LAB2])
    assert {where for where in actions(last) if "lab2" not in where} == {
        "image/cirros-cccccccccccc@worker2",
        "uplink/gateway",
        "trunk/internet@gateway",
        "trunk/internet@worker2",
    }


def test_an_image_stays_while_an_overlay_of_another_slice_may_need_it() -> None:
    state = replay(EMPTY, plan(lab(["a"])))
    for edit in (plan(lab([]), state=state), plan(lab({"a": {"image": "ubuntu"}}), state=state)):
        begun = replay(state, edit, 0)
        beside = plan(lab([], key=LAB2), state=within(begun, LAB2))
        assert beside.changes == ()
        done = replay(state, edit)
        assert f"image/cirros-{CIRROS[:12]}@worker1" not in done.resources


def test_the_internet_vlan_stays_while_another_slices_vm_may_be_on_it() -> None:
    state = replay(EMPTY, plan(lab({"a": {"internet": True}})))
    begun = replay(state, plan(lab(["a"]), state=state), 0)
    assert plan(lab([], key=LAB2), state=within(begun, LAB2)).changes == ()


def test_another_slices_unfinished_image_is_not_this_ones_business() -> None:
    started = plan(lab(["a"]))
    half = replay(EMPTY, started, 0)
    assert {str(where) for where in half.resources} == {"image/cirros-cccccccccccc@worker1"}
    beside = plan(lab({"b": {"worker": "worker2"}}, key=LAB2), state=within(half, LAB2))
    assert {item.subject.host for item in beside.changes} == {"worker2"}


def test_an_image_that_the_cluster_file_lost_stays_while_a_slice_has_it() -> None:
    state = replay(EMPTY, plan(lab(["a"], defaults={"flavor": "ubuntu"})))
    less = cluster(
        images={"cirros": {"file": "c.qcow2", "sha256": CIRROS}},
        flavors={"cirros": {"image": "cirros", "vcpus": 1, "memory": "256MiB", "disk": "1GiB"}},
    )
    assert plan(lab([], key=LAB2), on=less, state=state).changes == ()
    moved = plan(lab(["a"]), on=less, state=state)
    assert change(moved, "image/ubuntu-dddddddddddd@worker1").action is Action.DELETE
