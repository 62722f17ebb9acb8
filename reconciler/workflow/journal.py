"""Writes the executor's journal to the state."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from reconciler.plan.model import Step
from reconciler.plan.results import StepResult
from reconciler.state.store import ApplyId, StateStore


class StoreJournal:
    """The journal of one apply. The store is called in a worker thread, so that the event loop never waits for it."""

    def __init__(self, store: StateStore, number: ApplyId) -> None:
        self._store = store
        self._number = number

    async def intend(self, steps: Sequence[Step]) -> None:
        """Write that steps are about to be attempted."""
        await asyncio.to_thread(self._store.intend, self._number, steps)

    async def record(self, results: Sequence[StepResult]) -> None:
        """Write how steps ended."""
        await asyncio.to_thread(self._store.record, self._number, results)
