"""Derives the status of a resource from the result of its step."""

from __future__ import annotations

from dataclasses import replace

from reconciler.plan.model import Action, Step
from reconciler.plan.results import StepResult, StepStatus
from reconciler.plan.snapshot import ResourceState, Status

_AFTERWARDS = {
    Action.CREATE: (Status.PRESENT, Status.CREATING),
    Action.UPDATE: (Status.PRESENT, Status.UNKNOWN),
    Action.DELETE: (None, Status.DELETING),
}
"""The status of a resource once its step is done, and while it is not; None where the resource is confirmed gone."""


def deletes_leftover(step: Step, host: str) -> bool:
    """Whether a step deletes what a move left on another host than the one where the state has the resource."""
    return step.action is Action.DELETE and step.host != host


def state_once_done(step: Step) -> ResourceState:
    """Return what the state has of a resource that a step has created or changed.

    A move has another step: until the resource is deleted where it was, that side is pending. After a rename, the
    objects of the resource have its new address as their tag.
    """
    now = replace(step.subject, formerly=()) if step.subject.formerly else step.subject
    return ResourceState(now, Status.UNKNOWN, step.before) if step.moves else ResourceState(now)


def status_after(result: StepResult) -> Status | None:
    """Return the status of a step's resource after the step; None where it is confirmed gone."""
    done, otherwise = _AFTERWARDS[result.step.action]
    return done if result.status is StepStatus.DONE else otherwise
