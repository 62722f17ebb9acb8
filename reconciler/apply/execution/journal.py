"""Defines the journal that the executor writes intents and results to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from reconciler.plan.model import Step
from reconciler.plan.results import StepResult


class Journal(Protocol):
    """A durable journal of steps. Both calls return only once what they write survives a crash."""

    async def intend(self, steps: Sequence[Step]) -> None:
        """Write that these steps are about to be attempted."""
        ...

    async def record(self, results: Sequence[StepResult]) -> None:
        """Write how steps ended: done, failed or unknown."""
        ...
