from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler import workflow
from reconciler.apply.execution.events import ApplyReport, HostLost
from reconciler.errors import StateLost
from reconciler.plan.build import build_plan
from reconciler.plan.model import Plan, Step
from reconciler.plan.results import StepResult, StepStatus, skipped
from reconciler.spec.models.names import HostName
from reconciler.views.report import NOTHING_CHANGED, apply_view, report_text
from reconciler.workflow import ApplyResult
from tests.plan.examples import EMPTY
from tests.plan.replay import replay

CLUSTER = "examples/cluster.yaml"
WORKER1 = HostName("worker1")
REFUSED = "10.0.10.1 refuses connections on port 22"


@pytest.fixture(scope="module")
def plan() -> Plan:
    root = Path(__file__).parents[2]
    inputs = workflow.load(root / CLUSTER, [root / "examples/topologies/triangle.yaml"])
    return build_plan(inputs.cluster.cluster, [file.slice for file in inputs.slices], EMPTY, tool="test")


def report(plan: Plan, *results: StepResult) -> ApplyReport:
    """Return a report with these results; all other steps are done."""
    given = {result.step.id: result for result in results}
    return ApplyReport(
        tuple(given.get(step.id) or StepResult(step, StepStatus.DONE) for step in plan.steps), elapsed=1.25
    )


def failed(step: Step, message: str) -> StepResult:
    return StepResult(step, StepStatus.FAILED, message)


def on(plan: Plan, host: HostName) -> list[Step]:
    return [step for step in plan.steps if step.host == host]


def test_one_failure_keeps_all_of_its_words(plan: Plan) -> None:
    step = on(plan, WORKER1)[0]
    text = report_text(plan, report(plan, failed(step, "one\ntwo\n")))
    assert text.splitlines()[:2] == [f"failed: create {step.address} on worker1: one", "  two"]


def test_a_lost_host_is_told_once_with_its_hint_and_what_waits_for_it(plan: Plan) -> None:
    *broken, last, other = on(plan, WORKER1)
    text = report_text(
        plan,
        report(
            plan,
            *(failed(step, REFUSED) for step in broken),
            skipped(last, broken[0]),
            skipped(other, broken[1]),
        ),
        [HostLost(WORKER1, REFUSED, "start sshd")],
    )
    names = ", ".join(step.address for step in broken[:3])
    assert text.splitlines()[:3] == [
        f"failed: worker1: {REFUSED} ({len(broken)} steps: {names} and {len(broken) - 3} more)",
        "  hint: start sshd",
        f"skipped: 2 steps (they depend on steps that failed on worker1): {last.address}, {other.address}",
    ]
    assert f"Steps: {len(broken)} failed, 2 skipped." in text


def test_different_words_are_told_apart(plan: Plan) -> None:
    first, second, third = on(plan, WORKER1)[:3]
    text = report_text(
        plan,
        report(
            plan,
            failed(first, "disk full"),
            failed(second, "no such file"),
            StepResult(third, StepStatus.UNKNOWN, "disk full"),
        ),
    )
    assert [line.partition(":")[0] for line in text.splitlines()[:3]] == ["failed", "failed", "unknown"]
    assert f"failed: create {first.address} on worker1: disk full\n" in text


def test_all_done_is_one_line(plan: Plan) -> None:
    count = len(plan.changes)
    assert report_text(plan, report(plan)) == (
        f"Apply complete in 1.2 s: {count} added, 0 changed, 0 replaced, 0 destroyed.\n"
    )


def test_a_destroy_says_that_it_is_one(plan: Plan) -> None:
    root = Path(__file__).parents[2]
    cluster = workflow.load(root / CLUSTER, []).cluster.cluster
    gone = build_plan(cluster, [], replay(EMPTY, plan), destroy=plan.slices)
    assert report_text(gone, report(gone)) == f"Destroy complete in 1.2 s: {len(gone.changes)} destroyed.\n"
    text = report_text(gone, report(gone, failed(gone.steps[-1], "busy")))
    assert f"Destroy incomplete in 1.2 s: {len(gone.changes) - 1} destroyed. " in text
    assert text.endswith("Run destroy again to continue; completed steps are kept.\n")


def test_a_declined_plan_and_a_lost_lock_are_noted_beside_the_result(plan: Plan) -> None:
    lost = StateLost("alice/lab1 was taken over by ben", hint="run apply again")
    notes = {
        NOTHING_CHANGED: ApplyResult(plan, approved=False),
        "": ApplyResult(plan, approved=True, report=report(plan)),
        "error[state-lost]: alice/lab1 was taken over by ben\nhint: run apply again\n": ApplyResult(
            plan, approved=True, report=replace(report(plan), lock_lost=lost)
        ),
    }
    assert [apply_view(result, []).notes() for result in notes.values()] == list(notes)
