"""Derives the status of a resource from the result of its step."""

from __future__ import annotations

from reconciler.plan.model import Action
from reconciler.plan.results import StepResult, StepStatus
from reconciler.plan.snapshot import Status

_AFTERWARDS = {
    Action.CREATE: (Status.PRESENT, Status.CREATING),
    Action.UPDATE: (Status.PRESENT, Status.UNKNOWN),
    Action.DELETE: (None, Status.DELETING),
}
"""The status of a resource once its step is done, and while it is not; None where the resource is confirmed gone."""


def status_after(result: StepResult) -> Status | None:
    """Return the status of a step's resource after the step; None where it is confirmed gone."""
    done, otherwise = _AFTERWARDS[result.step.action]
    return done if result.status is StepStatus.DONE else otherwise
