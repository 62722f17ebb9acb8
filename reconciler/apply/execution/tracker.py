"""Reports the start and the result of each step to the schedule, the journal and the observer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from reconciler.apply.execution.events import Observer, StepStarted
from reconciler.apply.execution.journal import Journal
from reconciler.apply.execution.schedule import Schedule
from reconciler.plan.model import Action, Step, StepId
from reconciler.plan.results import ADOPTED, StepResult, StepStatus

WRITE_EVERY: Final = 32
"""Results that are written to the journal at once while a host keeps sending them."""


WRITE_WITHIN: Final = 0.3
"""Seconds after which a result is written to the journal, with all others that have come by then."""


class StepTracker:
    """The progress of an apply. Results are gathered; `write` writes them to the journal.

    Calls of the journal follow one another, in the order in which they were made.
    """

    def __init__(
        self, schedule: Schedule, journal: Journal, observer: Observer, monotonic: Callable[[], float]
    ) -> None:
        self.observer = observer
        self._schedule = schedule
        self._journal = journal
        self._monotonic = monotonic
        self._writing = asyncio.Lock()
        self._intended: set[StepId] = set()
        self._begun: dict[StepId, float] = {}
        self._adopted: set[StepId] = set()
        self._unwritten: list[StepResult] = []
        self._reported = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether so many results wait that they should be written now."""
        return len(self._unwritten) >= WRITE_EVERY

    async def intend(self, steps: Sequence[Step]) -> None:
        """Write that steps are about to be sent, and count them as in flight."""
        addresses = {step.address for step in steps}
        async with self._writing:
            # A deletion that is written after the intent to create the same address would take that intent away. And
            # what follows a move may change the copy: by then the state must say that the copy is what counts.
            if any(result.step.address in addresses or result.step.moves for result in self._unwritten):
                await self._write()
            await _to_its_end(self._journal.intend(steps))
        self._intended.update(step.id for step in steps)
        self._schedule.send(steps)

    def put_back(self, steps: Iterable[Step]) -> None:
        """Let steps wait again whose batch the host refused as a whole, so that none of them started."""
        self._schedule.put_back(steps)

    def begin(self, step: Step) -> None:
        """Report that the host has started a step; a retry has started already."""
        if step.id not in self._begun:
            self._begun[step.id] = self._monotonic()
            self.observer(StepStarted(step))

    def done(self, step: Step) -> None:
        """Report that a step succeeded."""
        now = self._monotonic()
        message = ADOPTED if step.id in self._adopted else ""
        self.end(StepResult(step, StepStatus.DONE, message, seconds=now - self._begun.get(step.id, now)))

    def adopt(self, step: Step) -> None:
        """Note that there is nothing to do for a creation, unless this apply has begun it itself."""
        if step.action is Action.CREATE and step.id not in self._begun:
            self._adopted.add(step.id)

    def failed(self, step: Step, message: str) -> None:
        """Report that a step failed."""
        self.end(StepResult(step, StepStatus.FAILED, message))

    def unknown(self, step: Step, message: str) -> None:
        """Report that the effect of a step is not known."""
        self.end(StepResult(step, StepStatus.UNKNOWN, message))

    def end(self, result: StepResult) -> None:
        """Report a result and the steps that are skipped for it; only steps with an intent are in the journal."""
        for each in self._schedule.end(result):
            self.observer(each)
            if each.step.id in self._intended:
                self._unwritten.append(_as_written(each))
                self._reported.set()

    async def keep_writing(self) -> None:
        """Write results as they come, a short time after they were reported; return never."""
        while True:
            await self._reported.wait()
            await asyncio.sleep(WRITE_WITHIN)
            self._reported.clear()
            await self.write()

    async def write(self) -> None:
        """Write the gathered results to the journal."""
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        results, self._unwritten = self._unwritten, []
        if not results:
            return
        try:
            await _to_its_end(self._journal.record(results))
        except Exception:
            self._unwritten = [*results, *self._unwritten]
            raise


async def _to_its_end(write: Coroutine[Any, Any, None]) -> None:
    """Wait until a write has ended, even where the caller is cancelled meanwhile; then raise what it raised."""
    task = asyncio.ensure_future(write)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


def _as_written(result: StepResult) -> StepResult:
    """Return a result as the journal keeps it: a step that was sent and then skipped has failed."""
    if result.status is not StepStatus.SKIPPED:
        return result
    return replace(result, status=StepStatus.FAILED, message=f"not attempted: {result.message}")
