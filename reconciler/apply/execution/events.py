"""Defines the events of an apply and the report at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.errors import StateLost
from reconciler.plan.model import Step
from reconciler.plan.results import StepResult, StepStatus
from reconciler.spec.models.names import HostName


@dataclass(frozen=True, slots=True)
class StepStarted:
    """The host has started a step."""

    step: Step


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How far a step's upload is, in bytes."""

    step: Step
    sent: int
    size: int


@dataclass(frozen=True, slots=True)
class HostDropped:
    """The connection died inside a batch. The executor reconnects and probes the host before it retries anything."""

    host: HostName
    message: str


@dataclass(frozen=True, slots=True)
class HostLost:
    """A host is given up for this apply: the steps that wait for it fail, all others continue."""

    host: HostName
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The apply waits before its first step; `message` says for what."""

    message: str


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """How an apply went: one result for each step, in the order of the plan; `elapsed` in seconds.

    `lock_lost` says why the apply stopped where another process took over its locks.
    """

    results: tuple[StepResult, ...] = field(repr=False)  # asyncio.run formats what it returns
    elapsed: float
    lock_lost: StateLost | None = None

    @property
    def done(self) -> tuple[StepResult, ...]:
        """The steps that succeeded."""
        return self._with(StepStatus.DONE)

    @property
    def failed(self) -> tuple[StepResult, ...]:
        """The steps that failed."""
        return self._with(StepStatus.FAILED)

    @property
    def unknown(self) -> tuple[StepResult, ...]:
        """The steps whose effect is not known."""
        return self._with(StepStatus.UNKNOWN)

    @property
    def skipped(self) -> tuple[StepResult, ...]:
        """The steps that were skipped because a step that they need did not succeed."""
        return self._with(StepStatus.SKIPPED)

    @property
    def not_started(self) -> tuple[StepResult, ...]:
        """The steps that were not started before the apply stopped."""
        return self._with(StepStatus.NOT_STARTED)

    @property
    def ok(self) -> bool:
        """Whether every step is done."""
        return self.lock_lost is None and all(result.status is StepStatus.DONE for result in self.results)

    def _with(self, status: StepStatus) -> tuple[StepResult, ...]:
        return tuple(result for result in self.results if result.status is status)


@dataclass(frozen=True, slots=True)
class Finished:
    """The apply has ended; no event follows."""

    report: ApplyReport


Event = StepStarted | StepResult | UploadProgress | HostDropped | HostLost | Waiting | Finished
Observer = Callable[[Event], None]
"""Called with each event as it happens; must return quickly and never raise."""
