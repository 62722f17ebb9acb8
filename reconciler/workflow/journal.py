"""Keeps the executor's journal in the store, and says how each outcome leaves its resource; writing is the store's."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.apply.execution.journal import StepStatus
from reconciler.plan.model import Action, Step
from reconciler.plan.snapshot import Status
from reconciler.state.store import ApplyId, StateStore, StepResult


class StoreJournal:
    """The journal of one apply."""

    def __init__(self, store: StateStore, number: ApplyId) -> None:
        self._store = store
        self._number = number

    def intend(self, steps: Sequence[Step]) -> None:
        """Write that steps are about to be attempted."""
        self._store.intend(self._number, steps)

    def record(self, outcomes: Sequence[tuple[Step, StepStatus, str]]) -> None:
        """Write how steps ended, and with it how their resources stand."""
        results = [StepResult(step, _status(step.action, outcome), outcome, words) for step, outcome, words in outcomes]
        self._store.record(self._number, results)


_AFTERWARDS = {
    Action.CREATE: (Status.PRESENT, Status.CREATING),
    Action.UPDATE: (Status.PRESENT, Status.UNKNOWN),
    Action.DELETE: (None, Status.DELETING),
}
"""How a resource stands once its step is done, and when it is not."""


def _status(action: Action, outcome: StepStatus) -> Status | None:
    done, otherwise = _AFTERWARDS[action]
    return done if outcome is StepStatus.DONE else otherwise
