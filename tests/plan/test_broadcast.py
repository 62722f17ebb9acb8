"""The limit of broadcasts comes from the cluster file into each port that is on a VLAN, without a restart."""

from __future__ import annotations

from dataclasses import replace

from reconciler.plan.model import Action
from reconciler.plan.resources import Port, from_data, to_data
from reconciler.views.plan_text import render_text
from tests.plan.examples import EMPTY, LAB1, actions, cluster, lab, made_of, plan
from tests.plan.replay import replay

TWO = lab({"a": {"internet": True}, "b": {}}, [["a", "b"]])
CONNECTED = [f"port/{LAB1}/a:eth0", f"port/{LAB1}/a:eth1", f"port/{LAB1}/b:eth1"]
UNCONNECTED = f"port/{LAB1}/b:eth0"
STATE = replay(EMPTY, plan(TWO))


def test_a_connected_port_has_the_limit_of_the_file_or_a_thousand() -> None:
    for limits, expected in (({}, 1000), ({"broadcast": 50}, 50), ({"broadcast": None}, None)):
        made = plan(TWO, on=cluster(limits=limits))
        assert {made_of(made, where).broadcast for where in CONNECTED} == {expected}
        assert made_of(made, UNCONNECTED).broadcast is None


def test_another_limit_updates_ports_and_interrupts_nothing() -> None:
    found = plan(TWO, on=cluster(limits={"broadcast": 50}), state=STATE)
    assert actions(found) == dict.fromkeys(CONNECTED, Action.UPDATE)
    assert (found.counts.restarts, found.counts.interrupted, found.disturbed) == (0, 0, ())
    assert "broadcast = 1000 -> 50" in render_text(found)


def test_ports_of_an_earlier_version_get_the_limit_while_their_guests_run() -> None:
    resources = dict(STATE.resources)
    for where, entry in STATE.resources.items():
        data = to_data(entry.resource)
        if entry.resource.kind == Port.kind:
            del data["broadcast"]
        resources[where] = replace(entry, resource=from_data(data))
    found = plan(TWO, state=replace(STATE, resources=resources))
    assert actions(found) == dict.fromkeys(CONNECTED, Action.UPDATE)
    assert (found.counts.restarts, found.counts.interrupted, found.disturbed) == (0, 0, ())
