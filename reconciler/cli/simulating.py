"""Runs the simulation of `plan --rehearse`, shows its progress, and reports the result."""

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
from reconciler.simulation.setup import simulated_copy
from reconciler.state.memory import image_of
from reconciler.workflow.simulate import OnProgress, SimulationFailure, simulate

if TYPE_CHECKING:
    from reconciler.state.sql.store import SqlStore
    from reconciler.workflow import Asked, Inputs


@dataclass(frozen=True, slots=True)
class SimulatedPlan:
    """A simulation without a failure: the interruption points, how many were simulated, and their checkpoints."""

    points: int
    simulated: int
    checkpoints: int
    seconds: float

    def text(self) -> str:
        """Return one line, with its newline."""
        if not self.points:
            return "Simulated: there is nothing to do, so there is no interruption point.\n"
        simulated = "all" if self.simulated == self.points else f"{self.simulated} of"
        return (
            f"Simulated in {self.seconds:.1f} s: stopped at {simulated} {self.points:,} interruption points; after "
            "each, one more apply gave the same hosts and state as an apply without interruption.\n"
        )

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "moments": self.points,
            "played": self.simulated,
            "scenes": self.checkpoints,
            "complete": True,
            "seconds": round(self.seconds, 3),
        }


def simulate_plan(
    session: Session, inputs: Inputs, store: SqlStore, asked: Asked, drivers: Drivers = DRIVERS
) -> SimulatedPlan:
    """Simulate an apply on model hosts, beginning with the state; neither hosts nor state are changed.

    Raises SimulationError for the first interruption point after which one more apply would not complete it.
    """
    began = time.monotonic()
    simulated = simulated_copy(inputs.cluster.cluster, image_of(store.export()), drivers)
    with _progress(session) as on_progress:
        result = simulate(simulated, inputs, asked, on_progress=on_progress)
    if result.failure is not None:
        raise SimulationError(_summary(result.failure, result.points), hint=_HINT)
    return SimulatedPlan(result.points, result.simulated, result.checkpoints, time.monotonic() - began)


_HINT = "nothing was changed; this is a bug in topology-reconciler: report it with the output of `plan --json`"


def _summary(failure: SimulationFailure, points: int) -> str:
    if not failure.number:
        return f"in the simulation, an apply of this plan does not complete: {failure.problem}"
    return (
        f"if stopped {failure.description} (interruption point {failure.number:,} of {points:,}), one more apply would "
        f"not complete this plan: {failure.problem}"
    )


@contextmanager
def _progress(session: Session) -> Iterator[OnProgress]:
    """Yield a callback that shows progress, on a terminal only."""
    console = session.console(stderr=True)
    if session.json or not console.is_terminal or console.is_dumb_terminal:
        yield lambda _simulated, _of: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415 - 0.1 s to import

    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TextColumn("interruption points"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda simulated, of: bar.update(task, completed=simulated, total=of)
