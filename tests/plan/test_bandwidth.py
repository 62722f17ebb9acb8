"""The bandwidth comes from the cluster file into each port that is on a VLAN, without a restart."""

from __future__ import annotations

from dataclasses import replace

from reconciler.plan.model import Action
from reconciler.plan.resources import Port, from_data, to_data
from reconciler.views.plan_text import render_text
from tests.plan.examples import actions, cluster, made_of, plan
from tests.plan.replay import replay
from tests.plan.test_broadcast import CONNECTED, STATE, TWO, UNCONNECTED

SLOW = cluster(limits={"bandwidth": "100Mbit"})


def test_a_connected_port_has_the_bandwidth_of_the_file_or_none() -> None:
    assert {made_of(plan(TWO), where).bandwidth for where in (*CONNECTED, UNCONNECTED)} == {None}
    made = plan(TWO, on=SLOW)
    assert {made_of(made, where).bandwidth for where in CONNECTED} == {100_000_000}
    assert made_of(made, UNCONNECTED).bandwidth is None


def test_a_bandwidth_comes_changes_and_goes_and_interrupts_nothing() -> None:
    slow = plan(TWO, on=SLOW, state=STATE)
    slower = plan(TWO, on=cluster(limits={"bandwidth": "64Kbit"}), state=replay(STATE, slow))
    free = plan(TWO, state=replay(STATE, slow))
    for found, written in ((slow, "none -> 100Mbit"), (slower, "100Mbit -> 64Kbit"), (free, "100Mbit -> none")):
        assert actions(found) == dict.fromkeys(CONNECTED, Action.UPDATE)
        assert (found.counts.restarts, found.counts.interrupted, found.disturbed) == (0, 0, ())
        assert f"bandwidth = {written}" in render_text(found)


def test_ports_of_an_earlier_version_stay_as_they_are() -> None:
    resources = dict(STATE.resources)
    for where, entry in STATE.resources.items():
        data = to_data(entry.resource)
        if entry.resource.kind == Port.kind:
            del data["bandwidth"]
        resources[where] = replace(entry, resource=from_data(data))
    assert actions(plan(TWO, state=replace(STATE, resources=resources))) == {}
