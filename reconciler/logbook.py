"""Keeps the executor's journal in the store, and says how each outcome leaves its resource; writing is the store's."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.apply.journal import Outcome
from reconciler.plan.model import Action, Step
from reconciler.plan.record import Status
from reconciler.state.store import ApplyId, Ending, StateStore


class Logbook:
    """The journal of one apply."""

    def __init__(self, store: StateStore, number: ApplyId) -> None:
        self._store = store
        self._number = number

    def intend(self, steps: Sequence[Step]) -> None:
        """Write that steps are about to be attempted."""
        self._store.intend(self._number, steps)

    def record(self, outcomes: Sequence[tuple[Step, Outcome, str]]) -> None:
        """Write how steps ended, and with it how their resources stand."""
        endings = [Ending(step, _status(step.action, outcome), outcome, words) for step, outcome, words in outcomes]
        self._store.record(self._number, endings)


_AFTERWARDS = {
    Action.CREATE: (Status.PRESENT, Status.CREATING),
    Action.UPDATE: (Status.PRESENT, Status.UNKNOWN),
    Action.DELETE: (None, Status.DELETING),
}
"""How a resource stands once its step is done, and when it is not."""


def _status(action: Action, outcome: Outcome) -> Status | None:
    done, otherwise = _AFTERWARDS[action]
    return done if outcome is Outcome.DONE else otherwise
