"""Keeps schedule, journal and observers in step: what is begun or ended is told to all three, and only from here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, assert_never

from reconciler.apply.execution.events import (
    Observer,
    StepDone,
    StepFailed,
    StepResult,
    StepSkipped,
    StepStarted,
    StepUnknown,
)
from reconciler.apply.execution.journal import Journal, StepStatus
from reconciler.apply.execution.schedule import Schedule
from reconciler.plan.model import Step, StepId

RECORD_EVERY: Final = 32
"""Results that are written to the journal at once while a host keeps answering."""


class StepTracker:
    """What has become of the steps so far; results are gathered, and written by `write`."""

    def __init__(
        self, schedule: Schedule, journal: Journal, observer: Observer, monotonic: Callable[[], float]
    ) -> None:
        self.observer = observer
        self._schedule = schedule
        self._journal = journal
        self._monotonic = monotonic
        self._intended: set[StepId] = set()
        self._begun: dict[StepId, float] = {}
        self._unwritten: list[tuple[Step, StepStatus, str]] = []

    @property
    def unwritten(self) -> bool:
        """Whether results wait to be written."""
        return bool(self._unwritten)

    def intend(self, steps: Sequence[Step]) -> None:
        """Write that steps are about to be sent, and count them as in flight."""
        if {step.address for step in steps} & {step.address for step, _, _ in self._unwritten}:
            self.write()  # a removal that was recorded after the intent to make it anew would take that intent away
        self._journal.intend(steps)
        self._intended.update(step.id for step in steps)
        self._schedule.send(steps)

    def put_back(self, steps: Iterable[Step]) -> None:
        """Let steps wait again that were sent and refused as a whole, so that none of them was begun."""
        self._schedule.put_back(steps)

    def begin(self, step: Step) -> None:
        """Note that the host has begun a step; a retry has begun already."""
        if step.id not in self._begun:
            self._begun[step.id] = self._monotonic()
            self.observer(StepStarted(step))

    def done(self, step: Step) -> None:
        """Note that a step succeeded."""
        now = self._monotonic()
        self.end(StepDone(step, now - self._begun.get(step.id, now)))

    def end(self, ending: StepResult) -> None:
        """Note how a step ended, and what is skipped for it; a step that was never intended is not in the journal."""
        for each in self._schedule.end(ending):
            self.observer(each)
            if each.step.id in self._intended:
                self._unwritten.append((each.step, *_outcome(each)))
        if len(self._unwritten) >= RECORD_EVERY:
            self.write()

    def write(self) -> None:
        """Write to the journal what has gathered."""
        if self._unwritten:
            self._journal.record(self._unwritten)
            self._unwritten = []


def _outcome(ending: StepResult) -> tuple[StepStatus, str]:
    match ending:
        case StepDone():
            return StepStatus.DONE, ""
        case StepFailed(words=words):
            return StepStatus.FAILED, words
        case StepUnknown(words=words):
            return StepStatus.UNKNOWN, words
        case StepSkipped():
            return StepStatus.FAILED, f"not attempted: {ending.reason}"
        case _:
            assert_never(ending)
