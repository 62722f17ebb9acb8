"""Defines the result of a step: its status, the host's message and the time it took."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.plan.model import Step


class StepStatus(StrEnum):
    """How a step ended.

    Unknown: the connection died while the step ran, so the host must be probed. Skipped: a step that it needs did not
    succeed. Not started: the apply stopped first.
    """

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    NOT_STARTED = "not_started"


ADOPTED = "adopted: it was there already"
"""The message of a creation that found the resource as it must be, with our tag."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step ended.

    `message` is the host's own message, or the reason; of a step that is done it is empty, or ADOPTED. `seconds` counts
    from the step's start, and is 0 where there was nothing to do. `because` is the step whose failure this one was
    skipped for.
    """

    step: Step
    status: StepStatus
    message: str = ""
    seconds: float = 0.0
    because: Step | None = None

    @property
    def adopted(self) -> bool:
        """Whether the resource was there already when the step was to create it."""
        return self.status is StepStatus.DONE and self.message == ADOPTED


def skipped(step: Step, because: Step) -> StepResult:
    """Return the result of a step that was skipped because another one did not succeed."""
    message = f"needs {because.address} on {because.host}"
    return StepResult(step, StepStatus.SKIPPED, message, because=because)
