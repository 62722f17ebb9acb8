"""What an apply tells while it works, and its report at the end; frozen data, showing them is the front end's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.errors import StateLost
from reconciler.plan.model import Step
from reconciler.spec.models.names import HostName


@dataclass(frozen=True, slots=True)
class StepStarted:
    """The host has begun a step."""

    step: Step


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step succeeded; `seconds` from its start, 0 where there was nothing to do."""

    step: Step
    seconds: float


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A step failed; `words` are the host's own where it said any."""

    step: Step
    words: str


@dataclass(frozen=True, slots=True)
class StepUnknown:
    """The connection died under a step and could not be made again: the next apply looks."""

    step: Step
    words: str


@dataclass(frozen=True, slots=True)
class StepSkipped:
    """A step was left out because one that it needs did not succeed; `because` is where that began."""

    step: Step
    because: Step

    @property
    def reason(self) -> str:
        """Say it in words."""
        return f"needs {self.because.address} on {self.because.host}"


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How far a step's upload is, in bytes."""

    step: Step
    sent: int
    size: int


@dataclass(frozen=True, slots=True)
class HostDropped:
    """The connection died inside a batch; it is being made again, and the host looked at before anything is retried."""

    host: HostName
    words: str


@dataclass(frozen=True, slots=True)
class HostLost:
    """A host is given up for this apply: the steps that wait for it fail, everything else goes on."""

    host: HostName
    words: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The apply waits, before its first step, for what `words` tell of."""

    words: str


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """How an apply went: every step is in exactly one of these, in the order of the plan; `elapsed` in seconds.

    `lost` says why it stopped where another took its locks over.
    """

    done: tuple[Step, ...]
    failed: tuple[StepFailed, ...]
    unknown: tuple[StepUnknown, ...]
    skipped: tuple[StepSkipped, ...]
    not_started: tuple[Step, ...]
    elapsed: float
    lost: StateLost | None = None

    @property
    def ok(self) -> bool:
        """Whether every step is done."""
        return not (self.lost or self.failed or self.unknown or self.skipped or self.not_started)


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing more will happen."""

    report: ApplyReport


StepResult = StepDone | StepFailed | StepUnknown | StepSkipped
Event = StepStarted | StepResult | UploadProgress | HostDropped | HostLost | Waiting | Finished
Observer = Callable[[Event], None]
"""Told of each event as it happens; must return quickly and never raise."""
