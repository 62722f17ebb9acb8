"""Tests the lines that tell of the events of an apply."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.apply.execution.events import (
    Event,
    HostDropped,
    HostLost,
    StepStarted,
    UploadProgress,
    Waiting,
)
from reconciler.plan.results import StepResult, StepStatus
from reconciler.spec.models.names import HostName
from reconciler.views.progress import event_line
from tests.contracts.states import router, steps

(STEP,) = steps((None, router()))
LABEL = f"network    {STEP.address}"
WORKER1 = HostName("worker1")


def result(status: StepStatus, message: str = "") -> StepResult:
    return StepResult(STEP, status, message, seconds=1.25)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (result(StepStatus.DONE), f"{LABEL}: created in 1.2 s"),
        (result(StepStatus.FAILED, "no room\nat all"), f"{LABEL}: failed: no room"),
        (result(StepStatus.UNKNOWN), f"{LABEL}: unknown: no reason given"),
        (HostDropped(WORKER1, "reset"), "worker1    connection lost, trying again: reset"),
        (HostLost(WORKER1, "timed out", None), "worker1    given up: timed out"),
        (Waiting("alice/lab1 is being changed"), "waiting: alice/lab1 is being changed"),
        (UploadProgress(STEP, 1, 2), None),
        (StepStarted(STEP), None),
    ],
    ids=["done", "failed", "no reason", "dropped", "lost", "waiting", "upload", "started"],
)
def test_an_event_is_one_line_or_none(event: Event, line: str | None) -> None:
    assert event_line(event, verbose=False) == line


def test_a_move_says_where_the_copy_came_from() -> None:
    before = router()
    (moved,) = steps((replace(before, host=HostName("worker9")), before))
    done = StepResult(moved, StepStatus.DONE, seconds=2.5)
    assert event_line(done, verbose=False) == f"{LABEL}: copied from worker9 in 2.5 s"


def test_the_start_of_a_step_is_told_if_asked_for() -> None:
    assert event_line(StepStarted(STEP), verbose=True) == f"{LABEL}: create"
