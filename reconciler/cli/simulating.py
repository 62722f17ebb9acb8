"""Has a plan rehearsed, shows how far that is, and says what came of it; the playing is rehearsal's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.apply.observation.observe import Drivers
from reconciler.cli.session import Session
from reconciler.errors import SimulationError
from reconciler.simulation.drivers import DRIVERS
from reconciler.simulation.setup import set_up
from reconciler.simulation.simulate import SimulationFailure, Tell, rehearse

if TYPE_CHECKING:
    from reconciler.state.sql.store import SqlStore
    from reconciler.workflow import Asked, Inputs


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """A rehearsal that found nothing wanting: so many moments, as many of them played, from so many scenes."""

    moments: int
    played: int
    scenes: int
    seconds: float

    def text(self) -> str:
        """Say it in one line, ending with a newline."""
        if not self.moments:
            return "Rehearsed: there is nothing to do, and so no moment to stop at.\n"
        played = "all" if self.played == self.moments else f"{self.played} of"
        return (
            f"Rehearsed in {self.seconds:.1f} s: played {played} {self.moments:,} moments; stopped at each, one more "
            "apply ended with the same hosts and record as one left alone.\n"
        )

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "moments": self.moments,
            "played": self.played,
            "scenes": self.scenes,
            "complete": True,
            "seconds": round(self.seconds, 3),
        }


def rehearse_plan(
    session: Session, inputs: Inputs, store: SqlStore, asked: Asked, drivers: Drivers = DRIVERS
) -> Rehearsed:
    """Play an apply of this on hosts in memory, from what is recorded; hosts and record are let be.

    Raises RehearsalError for the first moment from which one more apply would not complete it.
    """
    began = time.monotonic()
    stage = set_up(inputs.cluster.cluster, store, drivers)
    with _progress(session) as tell:
        trial = rehearse(stage, inputs, asked, tell=tell)
    if trial.flaw is not None:
        raise SimulationError(_sentence(trial.flaw, trial.moments), hint=_HINT)
    return Rehearsed(trial.moments, trial.played, trial.scenes, time.monotonic() - began)


_HINT = "nothing was changed; this is a fault of topology-reconciler: report it with what `plan --json` prints"


def _sentence(flaw: SimulationFailure, moments: int) -> str:
    if not flaw.number:
        return f"on the model of the hosts, an apply of this is not completed: {flaw.ended}"
    return (
        f"stopped {flaw.moment} (moment {flaw.number:,} of {moments:,}), this would not be completed by one more "
        f"apply: {flaw.ended}"
    )


@contextmanager
def _progress(session: Session) -> Iterator[Tell]:
    """Yield what shows how far a rehearsal is; nothing is shown but on a terminal."""
    console = session.console(stderr=True)
    if session.json or not console.is_terminal or console.is_dumb_terminal:
        yield lambda _played, _of: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415 - 0.1 s to import

    columns = (TextColumn("rehearsing"), BarColumn(), MofNCompleteColumn(), TextColumn("moments"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda played, of: bar.update(task, completed=played, total=of)
