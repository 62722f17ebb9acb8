"""Guests that DHCP told something else before are in the plan, and ask again once the network node has changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.errors import PlanError
from reconciler.plan.model import Action, Plan
from reconciler.plan.resources import Vm
from reconciler.plan.snapshot import StateSnapshot, Status
from reconciler.spec.models.names import Address
from tests.plan.examples import EMPTY, LAB1, LAB2, actions, change, cluster, lab, made_of, plan
from tests.plan.replay import replay, within

LINK = ["a:eth1", "b:eth1"]
SEGMENT, A, B = (f"segment/{LAB1}/a:eth1--b:eth1", f"vm/{LAB1}/a", f"vm/{LAB1}/b")
STATE = replay(EMPTY, plan(lab(links=[LINK])))
ONLINE = {"a": {"internet": True}, "b": {}}


def link(**more: Any) -> list[Any]:
    return [{"endpoints": LINK} | more]


def vm_changes(made: Plan) -> dict[str, Action]:
    return {where: action for where, action in actions(made).items() if where.startswith("vm/")}


def position(made: Plan, where: str, action: Action) -> int:
    """Return the number of a step."""
    return next(step.id for step in made.steps if (step.address, step.action) == (where, action))


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"subnet": "10.44.0.0/24"}, "10.44.0.2/24 via 10.44.0.1, MTU 1500"),
        ({"mtu": 1400}, "192.168.100.2/24 via 192.168.100.1, MTU 1400"),
        ({"gateway": False}, "192.168.100.2/24, MTU 1500"),
        ({"dhcp": False}, None),
    ],
)
def test_a_changed_link_is_interrupted_and_its_guests_ask_after_its_segment_has_changed(more: Any, text: str) -> None:
    made = plan(lab(links=link(**more)), state=STATE)
    assert vm_changes(made) == {A: Action.UPDATE, B: Action.UPDATE}
    after = made_of(made, A)
    assert isinstance(after, Vm)
    assert after.leases == (None, text)
    assert (made.counts.restarts, made.counts.interrupted) == (0, 1)
    last = max(step.id for step in made.steps if step.address == SEGMENT)
    assert all(step.id > last for step in made.steps if step.address in {A, B})
    assert plan(lab(links=link(**more)), state=replay(STATE, made)).empty


def test_a_guest_whose_segment_goes_asks_after_it_is_gone() -> None:
    made = plan(lab(links=link(dhcp=False, gateway=False)), state=STATE)
    assert position(made, A, Action.UPDATE) > position(made, SEGMENT, Action.DELETE)


def test_a_guest_that_starts_again_waits_for_the_segment_that_changes() -> None:
    """Otherwise it would be given the address that its segment had before."""
    made = plan(lab({"a": {"image": "ubuntu", "disk": "1GiB"}, "b": {}}, link(subnet="10.44.0.0/24")), state=STATE)
    assert change(made, A).action is Action.REPLACE
    assert position(made, A, Action.CREATE) > max(step.id for step in made.steps if step.address == SEGMENT)


def test_a_new_guest_does_not_wait_for_a_new_segment() -> None:
    made = plan(lab(links=[LINK]))
    numbers = {step.address: step for step in made.steps}
    assert numbers[Address(SEGMENT)].id not in numbers[Address(A)].needs


def test_a_guest_that_goes_online_gets_another_default_route_on_its_link() -> None:
    made = plan(lab(ONLINE, [LINK]), state=STATE)
    (leases,) = [item for item in change(made, A).attributes if item.name == "leases"]
    (first, second), (had, gets) = leases.before, leases.after
    assert (first, had) == (None, "10.60.7.2/24 via 10.60.7.1")
    assert (second, gets) == ("192.168.100.2/24 via 192.168.100.1, MTU 1500", "192.168.100.2/24, MTU 1500")
    assert B not in actions(made)


@pytest.mark.parametrize("cut", [True, False])
def test_an_apply_that_was_cut_short_before_a_guest_asked_leaves_that_to_the_next(cut: bool) -> None:
    renumbered = lab(links=link(subnet="10.44.0.0/24"))
    made = plan(renumbered, state=STATE)
    half = replay(STATE, made, position(made, A, Action.UPDATE) - 1, cut=cut)
    again = plan(renumbered, state=half)
    before, after = change(again, A).before, change(again, A).after
    assert isinstance(before, Vm)
    assert isinstance(after, Vm)
    assert after.asks_again(before) == (1,)


def test_a_link_that_may_be_unplugged_is_plugged_in_although_the_file_is_as_before() -> None:
    """The file is taken back after an apply that was killed while the guest's link was down."""
    made = plan(lab(links=link(subnet="10.44.0.0/24")), state=STATE)
    half = replay(STATE, made, position(made, A, Action.UPDATE) - 1)
    assert half.resources[Address(A)].status is Status.UNKNOWN
    back = change(plan(lab(links=[LINK]), state=half), A)
    assert isinstance(back.before, Vm)
    assert isinstance(back.after, Vm)
    assert back.after.asks_again(back.before) == (1,)


def earlier(state: StateSnapshot) -> StateSnapshot:
    """Return a state as earlier versions recorded it: without the leases of VMs."""
    resources = {
        where: replace(entry, resource=replace(entry.resource, leases=None))
        if isinstance(entry.resource, Vm)
        else entry
        for where, entry in state.resources.items()
    }
    return replace(state, resources=resources)


def test_the_state_of_an_earlier_version_has_no_change_and_knows_what_guests_were_told() -> None:
    state = earlier(replay(EMPTY, plan(lab(ONLINE, [LINK]))))
    assert plan(lab(ONLINE, [LINK]), state=state).empty
    made = plan(lab(ONLINE, link(mtu=1400)), state=state)
    assert vm_changes(made) == {A: Action.UPDATE, B: Action.UPDATE}
    before = change(made, A).before
    assert isinstance(before, Vm)
    assert before.leases == ("10.60.7.2/24 via 10.60.7.1", "192.168.100.2/24, MTU 1500")


@pytest.mark.parametrize(
    "internet",
    [
        {"subnet": "10.99.0.0/24", "gateway": "10.99.0.1"},
        {"subnet": "10.60.7.0/24", "gateway": "10.60.7.254"},
        {"vlan": 401},
    ],
)
def test_the_internet_vlan_changes_for_all_slices_at_once_or_not_at_all(internet: dict[str, Any]) -> None:
    one, other = lab({"a": {"internet": True}}), lab({"a": {"internet": True}}, key=LAB2)
    both = replay(EMPTY, plan(one))
    both = replay(both, plan(other, state=both))
    on = cluster(internet=internet)
    with pytest.raises(PlanError, match=rf"uplink/gateway would be replaced .* leaves alone: {LAB2}") as caught:
        plan(one, on=on, state=within(both, LAB1))
    assert "plan all slices together" in (caught.value.hint or "")
    made = plan(one, other, on=on, state=both)
    assert len(vm_changes(made)) == (0 if "vlan" in internet else 2)
    assert plan(one, other, on=on, state=replay(both, made)).empty
