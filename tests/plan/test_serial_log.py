"""The limit of the logs of serial ports: from the cluster file into each VM, without a restart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reconciler.plan.model import Action
from reconciler.plan.resources import Vm, from_data, to_data
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.models.cluster import Cluster
from reconciler.views.plan_text import render_text
from tests.plan.examples import EMPTY, LAB1, actions, cluster, lab, made_of, plan
from tests.plan.replay import replay

ONE = lab({"a": {"worker": "worker1"}})
VM_A = f"vm/{LAB1}/a"
STATE: StateSnapshot = replay(EMPTY, plan(ONE))


def limited(size: str) -> Cluster:
    return cluster(limits={"serial_log": size})


def test_a_vm_has_the_limit_of_the_cluster_file_or_two_mebibytes() -> None:
    assert made_of(plan(ONE), VM_A).serial_log == 2 * 2**20
    assert made_of(plan(ONE, on=limited("64KiB")), VM_A).serial_log == 64 * 2**10


def test_another_limit_restarts_and_interrupts_nothing() -> None:
    found = plan(ONE, on=limited("1MiB"), state=STATE)
    assert actions(found) == {VM_A: Action.UPDATE}
    assert (found.counts.restarts, found.counts.interrupted, found.disturbed) == (0, 0, ())
    assert "serial_log = 2MiB -> 1MiB" in render_text(found)
    assert plan(ONE, on=limited("1MiB"), state=replay(STATE, found)).empty


def test_a_state_of_an_earlier_version_has_the_default() -> None:
    resources = {}
    for where, entry in STATE.resources.items():
        data: dict[str, Any] = to_data(entry.resource)
        if entry.resource.kind == Vm.kind:
            del data["serial_log"]
        resources[where] = replace(entry, resource=from_data(data))
    earlier = replace(STATE, resources=resources)
    assert plan(ONE, state=earlier).empty
    assert plan(ONE, on=limited("2MiB"), state=earlier).empty
    assert actions(plan(ONE, on=limited("4MiB"), state=earlier)) == {VM_A: Action.UPDATE}
