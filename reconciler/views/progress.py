"""Formats the events of an apply as lines: what is done, and what is in the way."""

from __future__ import annotations

from reconciler.apply.execution.events import (
    Event,
    Finished,
    HostDropped,
    HostLost,
    StepStarted,
    UploadProgress,
    Waiting,
)
from reconciler.plan.model import Action, Step
from reconciler.plan.results import StepResult, StepStatus

_PAST = {Action.CREATE: "created", Action.UPDATE: "changed", Action.DELETE: "deleted", Action.REPLACE: "replaced"}


def event_line(event: Event, *, verbose: bool) -> str | None:
    """Return the line that tells of an event, or None if it needs none; `verbose` tells of the start of steps too."""
    match event:
        case StepStarted(step=step):
            return f"{_label(step)}: {step.action}" if verbose else None
        case StepResult(step=step, adopted=True, message=message):
            return f"{_label(step)}: {message}"
        case StepResult(step=step, status=StepStatus.DONE, seconds=seconds):
            return f"{_label(step)}: {_past(step)} in {seconds:.1f} s"
        case StepResult(step=step, status=status, message=message):
            return f"{_label(step)}: {status}: {_first(message)}"
        case HostDropped() | HostLost() | Waiting():
            return _trouble(event)
        case UploadProgress() | Finished():
            return None


def _trouble(event: HostDropped | HostLost | Waiting) -> str:
    if isinstance(event, Waiting):
        return f"waiting: {event.message}"
    what = "given up" if isinstance(event, HostLost) else "connection lost, trying again"
    return f"{event.host:<10} {what}: {_first(event.message)}"


def _past(step: Step) -> str:
    """Say what a step did."""
    return _PAST[step.action] if step.source is None else f"copied from {step.source}"


def _label(step: Step) -> str:
    return f"{step.host:<10} {step.address}"


def _first(message: str) -> str:
    return next(iter(message.strip().splitlines()), "no reason given")
