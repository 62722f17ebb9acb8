"""Writes the executor's journal to the state."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.plan.model import Step
from reconciler.plan.results import StepResult
from reconciler.state.store import ApplyId, StateStore
from reconciler.state.worker import StateWorker


class StoreJournal:
    """The journal of one apply. The store is called in its worker's thread, so the event loop never waits for it."""

    def __init__(self, store: StateStore, number: ApplyId, worker: StateWorker) -> None:
        self._store = store
        self._worker = worker
        self._number = number

    async def intend(self, steps: Sequence[Step]) -> None:
        """Write that steps are about to be attempted."""
        await self._worker.run(self._store.intend, self._number, steps)

    async def record(self, results: Sequence[StepResult]) -> None:
        """Write how steps ended."""
        await self._worker.run(self._store.record, self._number, results)
