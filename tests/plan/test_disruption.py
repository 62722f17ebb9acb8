"""Tests which unchanged VMs a plan disturbs, and how many links go down."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.plan.model import Action, Plan
from reconciler.plan.snapshot import Status
from tests.plan.examples import EMPTY, LAB1, actions, lab, plan
from tests.plan.replay import replay

CHAIN = [["a", "b"], ["b", "c"]]
STATE = replay(EMPTY, plan(lab(["a", "b", "c"], CHAIN)))


def impact(made: Plan) -> tuple[dict[str, str], int, int]:
    """Return the disturbed VMs with their reasons, the restarts, and the links interrupted."""
    reasons = {item.address.removeprefix("vm/alice/lab1/"): item.reason for item in made.disturbed}
    return reasons, made.counts.restarts, made.counts.interrupted


@pytest.mark.parametrize(
    ("vms", "links", "found"),
    [
        ({"a": {}, "b": {}, "c": {}, "d": {}}, [*CHAIN], ({}, 0, 0)),
        (
            {"a": {}, "b": {"memory": "512MiB"}, "c": {}},
            CHAIN,
            (
                {
                    "a": "eth1 goes down: alice/lab1/b restarts",
                    "c": "eth1 goes down: alice/lab1/b restarts",
                },
                1,
                2,
            ),
        ),
        (
            {"a": {"image": "ubuntu", "disk": "1GiB"}, "b": {}, "c": {}},
            CHAIN,
            ({"b": "eth1 goes down: alice/lab1/a is replaced"}, 0, 1),
        ),
        ({"a": {}, "b": {}}, CHAIN[:1], ({}, 0, 1)),
        (
            {"a": {}, "b": {}, "c": {}},
            CHAIN[:1],
            ({}, 0, 1),
        ),
    ],
    ids=["a new vm", "a restart", "a replacement", "a removed vm", "a removed link"],
)
def test_neighbours(vms: Any, links: Any, found: Any) -> None:
    assert impact(plan(lab(vms, links), state=STATE)) == found


@pytest.mark.parametrize("change", [{"subnet": "10.44.0.0/24"}, {"mtu": 1400}, {"dhcp": False}])
def test_a_readdressed_link_changes_both_its_vms_and_is_interrupted(change: dict[str, Any]) -> None:
    made = plan(lab(["a", "b", "c"], [{"endpoints": ["a", "b"]} | change, CHAIN[1]]), state=STATE)
    changed = {where: action for where, action in actions(made).items() if where.startswith("vm/")}
    assert changed == {"vm/alice/lab1/a": Action.UPDATE, "vm/alice/lab1/b": Action.UPDATE}
    assert made.counts.restarts == 0
    assert made.counts.interrupted >= 1


def test_a_destroyed_slice_disturbs_no_vm() -> None:
    made = plan(state=STATE, destroy=list(STATE.allocations))
    assert impact(made) == ({}, 0, 0)


def test_both_ends_changed_is_one_link_and_no_disturbance() -> None:
    made = plan(lab({name: {"memory": "512MiB"} for name in "abc"}, CHAIN), state=STATE)
    assert impact(made) == ({}, 3, 2)


def test_a_vm_that_is_still_to_be_created_is_not_called_unchanged() -> None:
    start = plan(lab(["a", "b", "c"], CHAIN))
    half = replay(EMPTY, start, len(start.steps) - 1)
    (creating,) = [where for where, entry in half.resources.items() if entry.status is Status.CREATING]
    assert creating == "vm/alice/lab1/c"
    made = plan(lab({"a": {}, "b": {"memory": "512MiB"}, "c": {}}, CHAIN), state=half)
    assert "vm/alice/lab1/c" in actions(made)
    assert [str(item.address) for item in made.disturbed] == ["vm/alice/lab1/a"]


def test_a_vm_that_was_never_made_is_not_disturbed() -> None:
    made = plan(lab(links=[["a", "b"]]))
    assert made.steps[-1].address == "vm/alice/lab1/b"
    state = replay(EMPTY, made, done=len(made.steps) - 1, cut=False)
    found = plan(state=state, destroy=[LAB1])
    assert "vm/alice/lab1/b" not in state.resources
    assert (found.disturbed, found.counts.interrupted) == ((), 0)
