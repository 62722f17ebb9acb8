"""Tests each placement rule, on three workers of which one may be full."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.errors import LimitError, PlanError
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.names import HostName, SliceKey
from tests.plan.examples import EMPTY, LAB1, LAB2, cluster, lab, plan, workers
from tests.plan.replay import replay

VMS = ("a", "b", "c", "d")


def placed(
    rule: str,
    *slices: ExpandedSlice,
    state: StateSnapshot = EMPTY,
    capacities: tuple[dict[str, int], ...] = ({}, {}, {}),
) -> str:
    """Return the numbers of the workers that the last slice's VMs got, in order of the VMs' names."""
    on = cluster(placement=rule, workers=workers(*capacities))
    for one in slices:
        state = replay(state, plan(one, on=on, state=state))
    vms = state.allocations[SliceKey(slices[-1].key)].vms
    return "".join(vm.worker.removeprefix("worker") for vm in vms.values())


@pytest.mark.parametrize(
    ("rule", "expected"), [("round-robin", "1231"), ("spread", "1231"), ("pack", "1111"), ("locality", "1111")]
)
def test_a_rule_places_a_first_slice(rule: str, expected: str) -> None:
    assert placed(rule, lab(VMS)) == expected


@pytest.mark.parametrize(
    ("rule", "expected"), [("round-robin", "2312"), ("spread", "2312"), ("pack", "1111"), ("locality", "2222")]
)
def test_a_rule_minds_what_is_there(rule: str, expected: str) -> None:
    assert placed(rule, lab(["x"], key=LAB2), lab(VMS, key=LAB1)) == expected


@pytest.mark.parametrize(
    ("rule", "expected"), [("round-robin", "1232"), ("spread", "1232"), ("pack", "1222"), ("locality", "1222")]
)
def test_a_full_worker_is_passed_over(rule: str, expected: str) -> None:
    assert placed(rule, lab(VMS), capacities=({"vms": 1}, {}, {"vms": 1})) == expected


def test_only_round_robin_takes_turns() -> None:
    for rule, turn in (("round-robin", 4), ("spread", 0), ("pack", 0), ("locality", 0)):
        assert plan(lab(VMS), on=cluster(placement=rule)).counters.turn == turn


def test_workers_that_are_down_get_nothing_new_and_are_named() -> None:
    down = {HostName("worker1"): "timed out", HostName("worker3"): "refused"}
    some = replace(EMPTY, down=down)
    assert placed("round-robin", lab(VMS), state=some) == "2222"
    with pytest.raises(LimitError) as full:
        placed("round-robin", lab(VMS), state=some, capacities=({}, {"vms": 3}, {}))
    assert "VMs of worker2 for alice/lab1/d" in full.value.summary
    assert full.value.hint is not None
    assert full.value.hint.endswith(
        "take no new VMs: worker1 could not be reached (timed out); worker3 could not be reached (refused)"
    )
    with pytest.raises(PlanError, match=r"no worker takes alice/lab1/a: worker1 could not be reached \(timed out\)"):
        placed("pack", lab(VMS), state=replace(some, down={**down, HostName("worker2"): "gone"}))
