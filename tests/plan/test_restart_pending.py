"""A VM that an earlier version started goes on: nothing restarts it for that, and plans and views say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.plan.build import build_plan
from reconciler.plan.model import Plan
from reconciler.plan.planfile import SavedPlan, read_plan, write_plan
from reconciler.plan.resources import Resource, Vm, from_data, to_data
from reconciler.plan.resources.vm import LAUNCH
from reconciler.plan.snapshot import ResourceDrift, Seen, StateSnapshot
from reconciler.spec.models.names import Address
from reconciler.views.plan_text import render_text
from reconciler.views.slice_tables import slice_view, status_view
from reconciler.views.slices import slice_views
from reconciler.views.tables import Table
from tests.plan.examples import EMPTY, LAB1, cluster, lab, plan
from tests.plan.replay import replay

A, B = Address(f"vm/{LAB1}/a"), Address(f"vm/{LAB1}/b")
CURRENT = replay(EMPTY, plan(lab()))


def _earlier(resource: Resource) -> Resource:
    data: dict[str, Any] = to_data(resource)
    if resource.kind == Vm.kind:
        del data["uid"], data["launch"]
    return from_data(data)


EARLIER = replace(
    CURRENT,
    resources={where: replace(entry, resource=_earlier(entry.resource)) for where, entry in CURRENT.resources.items()},
)
LARGER = lab({"a": {"memory": "512MiB"}, "b": {}})


def launches(state: StateSnapshot) -> dict[str, str]:
    return {
        name: vm.launch for name in "ab" if isinstance(vm := state.resources[Address(f"vm/{LAB1}/{name}")].resource, Vm)
    }


def seen(state: StateSnapshot, **drift: ResourceDrift) -> StateSnapshot:
    return state.seen(Seen({Address(f"vm/{LAB1}/{name}"): found for name, found in drift.items()}))


def test_a_plan_after_an_upgrade_is_empty_and_says_what_is_pending() -> None:
    found = plan(lab(), state=EARLIER)
    assert (found.empty, found.restart_pending) == (True, (A, B))
    why = "An earlier version started QEMU there; its next start renews it."
    assert render_text(found).splitlines() == [
        "No changes. 1 slice matches the state.",
        f"Restart pending for 2 VMs: {LAB1}/a, {LAB1}/b. {why}",
    ]
    assert "pending" not in render_text(plan(lab(), state=CURRENT))


def test_a_change_that_restarts_a_vm_renews_it_and_another_one_does_not() -> None:
    found = plan(LARGER, state=EARLIER)
    assert found.restart_pending == (B,)
    assert launches(replay(EARLIER, found)) == {"a": LAUNCH, "b": ""}
    limited = plan(lab(), on=cluster(limits={"serial_log": "1MiB"}), state=EARLIER)
    assert limited.restart_pending == (A, B)
    assert "Restart pending for 2 VMs" in render_text(limited)
    assert launches(replay(EARLIER, limited)) == {"a": "", "b": ""}
    replaced = build_plan(cluster(), [lab()], EARLIER, replace=[A])
    assert launches(replay(EARLIER, replaced)) == {"a": LAUNCH, "b": ""}


@pytest.mark.parametrize(
    ("drift", "renewed"),
    [
        (ResourceDrift(gone=True), True),
        (ResourceDrift(gone=False, values={"run_state": "paused"}), False),
        (ResourceDrift(gone=False, values={"run_state": "internal-error"}), True),
        (ResourceDrift(gone=False, values={"vcpus": 7}), True),
    ],
)
def test_a_repair_that_starts_a_vm_renews_it(drift: ResourceDrift, *, renewed: bool) -> None:
    found = plan(lab(), state=seen(EARLIER, a=drift))
    assert found.restart_pending == ((B,) if renewed else (A, B))
    assert launches(replay(EARLIER, found))["a"] == (LAUNCH if renewed else "")


def test_a_saved_plan_keeps_what_is_pending() -> None:
    found: Plan = plan(LARGER, state=EARLIER)
    assert read_plan(write_plan(SavedPlan(found, "cluster.yaml")), "it").plan == found


def test_status_and_show_say_so() -> None:
    state = replay(EARLIER, plan(LARGER, state=EARLIER))
    (found,) = slice_views(state)
    assert [(vm.name, vm.restart_pending) for vm in found.vms] == [("a", False), ("b", True)]
    vms = next(block for block in slice_view(found, {}).text() if isinstance(block, Table))
    assert [row["status"] for row in vms.rows] == ["present", "present, restart pending"]
    slices = next(block for block in status_view([found], "here").text() if isinstance(block, Table))
    assert slices.rows[0]["sync"] == "Synced, restart pending"
