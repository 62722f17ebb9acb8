"""Simulates an apply for `plan --rehearse`, with progress."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.apply.observation.observe import Drivers
from reconciler.cli.output import shows_bars
from reconciler.cli.session import Session
from reconciler.errors import SimulationError
from reconciler.simulation.drivers import DRIVERS
from reconciler.simulation.setup import simulated_copy
from reconciler.state.image import image_of
from reconciler.state.sql.store import SqlStore
from reconciler.views.simulation import SimulatedPlan, failure_text
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


@contextmanager
def _progress(session: Session) -> Iterator[OnProgress]:
    """Yield a callback that shows progress, on a terminal only."""
    if not shows_bars(session):
        yield lambda _simulated, _of: None
        return
    from reconciler.cli.bars import simulation_bar  # noqa: PLC0415 - rich: only a terminal needs it

    with simulation_bar(session) as on_progress:
        yield on_progress
