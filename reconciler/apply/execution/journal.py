"""Where the executor writes intent before effect and result after; the store behind it is the workflow's choice."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from reconciler.plan.model import Step


class StepStatus(StrEnum):
    """How a step ended. Unknown: the connection died inside the batch, so the host must be looked at."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Journal(Protocol):
    """A durable record of steps; both calls return only once what they write would survive a crash."""

    def intend(self, steps: Sequence[Step]) -> None:
        """Write that these steps are about to be attempted."""
        ...

    def record(self, outcomes: Sequence[tuple[Step, StepStatus, str]]) -> None:
        """Write how steps ended, each with the host's own words (empty when done)."""
        ...
