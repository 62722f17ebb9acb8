"""What guests may reach behind the uplink comes from the cluster file and changes while they run."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from reconciler.plan.model import Action
from reconciler.plan.resources import Uplink, from_data, to_data
from reconciler.spec.models.names import Address
from reconciler.views.plan_text import render_text
from tests.plan.examples import EMPTY, actions, cluster, lab, made_of, plan
from tests.plan.replay import replay

ONE = lab({"a": {"worker": "worker1", "internet": True}})
UPLINK = Address("uplink/gateway")
STATE = replay(EMPTY, plan(ONE))
OTHER = cluster(allow_private=["10.1.0.0/16"], limits={"connections": None})


def uplink(**fields: Any) -> Uplink:
    found = made_of(plan(ONE, on=cluster(**fields)), UPLINK)
    assert isinstance(found, Uplink)
    return found


def test_hosts_are_closed_and_nothing_private_is_open_unless_the_file_says_so() -> None:
    assert uplink().hosts == ("10.0.10.1", "10.0.10.2", "10.0.10.3", "10.0.10.254")
    assert (uplink().allow_private, uplink().connections) == ((), 4096)
    opened = uplink(allow_private=["172.16.0.0/16", "10.1.0.0/16"], limits={"connections": None})
    assert (opened.allow_private, opened.connections) == (("10.1.0.0/16", "172.16.0.0/16"), None)


def test_further_addresses_and_those_to_log_in_at_are_closed_but_loopback() -> None:
    worker = {"name": "worker1", "address": "10.0.10.1", "addresses": ["198.51.100.9", "10.0.10.1"]}
    other = {"name": "worker2", "address": "10.0.10.2", "ssh": {"host": "127.0.0.1"}}
    hosts = [worker | {"ssh": {"host": "198.51.100.8"}}, other]
    found = cluster(workers=hosts).addresses()
    assert found == tuple(map(IPv4Address, ("10.0.10.1", "10.0.10.2", "10.0.10.254", "198.51.100.8", "198.51.100.9")))


def test_a_change_updates_the_uplink_and_interrupts_nothing() -> None:
    found = plan(ONE, on=OTHER, state=STATE)
    assert actions(found) == {UPLINK: Action.UPDATE}
    assert (found.counts.restarts, found.counts.interrupted, found.disturbed) == (0, 0, ())
    assert "allow_private = none -> 10.1.0.0/16" in render_text(found)
    assert plan(ONE, on=OTHER, state=replay(STATE, found)).empty


def test_an_uplink_of_an_earlier_version_is_updated_and_nothing_else() -> None:
    entry = STATE.resources[UPLINK]
    data = to_data(entry.resource)
    for name in ("hosts", "allow_private", "connections"):
        del data[name]
    earlier = replace(STATE, resources={**STATE.resources, UPLINK: replace(entry, resource=from_data(data))})
    found = plan(ONE, state=earlier)
    assert actions(found) == {UPLINK: Action.UPDATE}
    assert (found.counts.restarts, found.counts.interrupted) == (0, 0)
