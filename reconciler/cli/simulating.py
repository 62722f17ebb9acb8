"""Simulates an apply for `plan --rehearse`, with progress, and shows the result."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.apply.observation.observe import Drivers
from reconciler.cli.output import shows_bars
from reconciler.cli.session import Session
from reconciler.errors import SimulationError
from reconciler.plan.model import Plan
from reconciler.simulation.drivers import DRIVERS
from reconciler.simulation.setup import simulated_copy
from reconciler.state.memory import image_of
from reconciler.state.sql.store import SqlStore
from reconciler.views.plan import plan_view
from reconciler.views.simulation import SimulatedPlan, failure_text, simulated_plan_view
from reconciler.workflow import Asked, Inputs
from reconciler.workflow.simulate import OnProgress, simulate


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
        raise SimulationError(failure_text(result.failure, result.points), hint=_HINT)
    return SimulatedPlan(result.points, result.simulated, result.checkpoints, time.monotonic() - began)


_HINT = "nothing was changed; this is a bug in topology-reconciler: report it with the output of `plan --json`"


def show_simulated(session: Session, planned: Plan, inputs: Inputs, store: SqlStore, asked: Asked) -> None:
    """Show a plan and the result of its simulation; as JSON, both are one document."""
    if not session.json:
        session.show(plan_view(planned))
        sys.stdout.flush()  # a simulation takes seconds, and the plan can be read meanwhile
    session.show(simulated_plan_view(planned, simulate_plan(session, inputs, store, asked)))


@contextmanager
def _progress(session: Session) -> Iterator[OnProgress]:
    """Yield a callback that shows progress, on a terminal only."""
    if session.json or not shows_bars(sys.stderr):
        yield lambda _simulated, _of: None
        return
    from reconciler.cli.bars import simulation_bar  # noqa: PLC0415 - rich: only a terminal needs it

    with simulation_bar(session) as on_progress:
        yield on_progress
