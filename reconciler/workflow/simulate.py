"""Simulates an apply, stops it at every interruption point, and checks that one more apply completes it.

The expected result is that of the same apply without interruption: hosts and state must be equal at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from reconciler.engine import Engine
from reconciler.errors import ReconcilerError
from reconciler.plan.model import Plan
from reconciler.plan.snapshot import SHARED, StateSnapshot
from reconciler.simulation.cluster import HOLDER, Checkpoint, OnPoint, SimulatedCluster, VirtualTimeLoop, ignore
from reconciler.simulation.drivers import contents
from reconciler.simulation.hosts import invariant_violations
from reconciler.state.store import StateStore
from reconciler.workflow.applying import ApplyResult, apply
from reconciler.workflow.load import Inputs
from reconciler.workflow.planning import NOTHING_ELSE, Asked, plan

MAX_POINTS: Final = 200
"""The most interruption points that are simulated by default."""

MIN_POINTS: Final = 20
"""The number of interruption points that are simulated of every plan that has as many, however large it is."""

STEP_BUDGET: Final = 12_000
"""The approximate number of steps that are performed in all; the cost of a point grows with the steps of its plan."""


@dataclass(frozen=True, slots=True)
class InterruptionPoint:
    """A point at which an apply may be stopped: its number (from 1), what had just happened, and the checkpoint."""

    number: int
    description: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class SimulationFailure:
    """An interruption point after which one more apply did not suffice; `number` is 0 if nothing was interrupted."""

    number: int
    description: str
    problem: str


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """The number of interruption points, how many were simulated, and from how many distinct checkpoints."""

    points: int
    simulated: int
    checkpoints: int
    failure: SimulationFailure | None = None


OnProgress = Callable[[int, int], object]
"""Called with the number of points that are simulated, and the number that will be."""


def apply_on(cluster: SimulatedCluster, inputs: Inputs, asked: Asked = NOTHING_ELSE) -> ApplyResult:
    """Apply as the command line does, on the simulated hosts; a lost disk is created again, empty."""

    async def work() -> ApplyResult:
        return await apply(engine_of(cluster), inputs, asked, accept_data_loss=True)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work())


def engine_of(cluster: SimulatedCluster, store: StateStore | None = None) -> Engine:
    """Return the engine for an apply on the simulated hosts, all of which may work at once."""
    return Engine(
        store or cluster.store,
        cluster.connector(),
        HOLDER,
        parallelism=len(cluster.hosts),
        drivers=cluster.drivers,
        contents=contents,
    )


def interruption_points(
    cluster: SimulatedCluster, inputs: Inputs, asked: Asked, wanted: Callable[[int], bool]
) -> list[InterruptionPoint]:
    """Apply, and return the interruption points whose numbers are wanted."""
    found: list[InterruptionPoint] = []
    count = 0

    def on_point(description: str) -> None:
        nonlocal count
        count += 1
        if wanted(count):
            found.append(InterruptionPoint(count, description, cluster.checkpoint()))

    _apply_observed(cluster, inputs, asked, on_point)
    return found


def simulate(
    cluster: SimulatedCluster,
    inputs: Inputs,
    asked: Asked = NOTHING_ELSE,
    *,
    most: int | None = None,
    on_progress: OnProgress = lambda _simulated, _of: None,
) -> SimulationResult:
    """Stop an apply at its interruption points, and from each apply once more; begins with the cluster as it is now.

    If there are more than `most` points (by default as many as the size of the plan allows), that many are simulated,
    evenly spaced, with the first and the last.
    """
    start = cluster.checkpoint()
    measured = _measure(cluster, inputs, asked)
    if isinstance(measured, SimulationFailure):
        return SimulationResult(0, 0, 0, measured)
    expected, points = measured
    wanted = _evenly(points, most or _bound(expected.steps))
    seen: set[int] = set()
    tried: set[int] = set()
    cluster.restore(start)
    for simulated, point in enumerate(interruption_points(cluster, inputs, asked, {*wanted}.__contains__), start=1):
        if problem := next(iter(invariant_violations(point.checkpoint.hosts)), None):
            failure = SimulationFailure(point.number, point.description, problem)
            return SimulationResult(points, simulated, len(seen), failure)
        for description, checkpoint in _variants(point):
            if (known := hash(checkpoint.fingerprint)) in seen:
                continue
            seen.add(known)
            settled = checkpoint.settled()
            if (same := hash(settled.fingerprint)) in tried:
                continue
            tried.add(same)
            if problem := _problem_after(cluster, settled, inputs, asked, expected):
                failure = SimulationFailure(point.number, description, problem)
                return SimulationResult(points, simulated, len(seen), failure)
        on_progress(simulated, len(wanted))
    return SimulationResult(points, len(wanted), len(seen))


@dataclass(frozen=True, slots=True)
class _Expected:
    """Hosts and state after an apply without interruption, and its number of steps."""

    objects: Mapping[Any, object]
    state: Mapping[str, Mapping[Any, object]]
    steps: int


def _apply_observed(cluster: SimulatedCluster, inputs: Inputs, asked: Asked, on_point: OnPoint) -> ApplyResult:
    """Apply, and call `on_point` at each interruption point."""
    cluster.on_point = on_point
    try:
        return apply_on(cluster, inputs, asked)
    finally:
        cluster.on_point = ignore


def _measure(cluster: SimulatedCluster, inputs: Inputs, asked: Asked) -> tuple[_Expected, int] | SimulationFailure:
    points = 0

    def on_point(_: str) -> None:
        nonlocal points
        points += 1

    try:
        applied = _apply_observed(cluster, inputs, asked, on_point)
        problem = _violation(cluster) or _still_to_do(cluster, inputs, asked) if applied.ok else _unfinished(applied)
    except ReconcilerError as error:
        problem = _message(error)
    if problem is not None:
        return SimulationFailure(0, "without interruption", problem)
    return _Expected(cluster.objects(), _parts(cluster.store.read()), len(applied.plan.steps)), points


def _bound(steps: int) -> int:
    return min(max(STEP_BUDGET // max(steps, 1), MIN_POINTS), MAX_POINTS)


def _evenly(points: int, most: int) -> Sequence[int]:
    """Return numbers from 1 to `points`, at most so many, with the first and the last."""
    if points <= most:
        return range(1, points + 1)
    return [1 + index * (points - 1) // (most - 1) for index in range(most)]


def _variants(point: InterruptionPoint) -> Iterator[tuple[str, Checkpoint]]:
    """Yield what may follow an interruption: hosts finish the batches that they are running, or are cut off."""
    if not point.checkpoint.busy:
        yield point.description, point.checkpoint
        return
    yield f"{point.description}, and hosts went on", point.checkpoint
    yield f"{point.description}, and hosts were cut off", point.checkpoint.cut()


def _problem_after(
    cluster: SimulatedCluster,
    checkpoint: Checkpoint,
    inputs: Inputs,
    asked: Asked,
    expected: _Expected,
) -> str | None:
    """Apply once more from a checkpoint, and return the first difference from what is expected, or None."""
    cluster.restore(checkpoint)
    if found := _violation(cluster):
        return found
    try:
        applied = apply_on(cluster, inputs, _still_asked(cluster, asked))
        if not applied.ok:
            return _unfinished(applied)
        return _difference(cluster, expected) or _violation(cluster) or _still_to_do(cluster, inputs, asked)
    except ReconcilerError as error:
        return _message(error)


def _still_asked(cluster: SimulatedCluster, asked: Asked) -> Asked:
    """Return the request without replacements of missing resources, which are created in any case."""
    present = cluster.store.read().resources
    return replace(asked, replace=tuple(where for where in asked.replace if where in present))


def _violation(cluster: SimulatedCluster) -> str | None:
    return next(iter(invariant_violations(cluster.hosts)), None)


def _difference(cluster: SimulatedCluster, expected: _Expected) -> str | None:
    """Return the first object on hosts, or entry of the state, that differs from an apply without interruption."""
    if found := _first_difference(expected.objects, cluster.objects()):
        return f"{found[0][1]} on {found[0][0]} {found[1]}"
    for part, entries in _parts(cluster.store.read()).items():
        if found := _first_difference(expected.state[part], entries):
            return f"{found[0]} of the state's {part} {found[1]}"
    # An interrupted apply may leave the lock of shared resources to an apply that does not need it.
    left = sorted({lock.name for lock in cluster.store.locks()} - {SHARED})
    return f"the lock of {left[0]} is still held" if left else None


def _first_difference(wanted: Mapping[Any, object], found: Mapping[Any, object]) -> tuple[Any, str] | None:
    for key in sorted(wanted.keys() | found.keys(), key=str):
        if key not in found:
            return key, "is missing"
        if key not in wanted:
            return key, "is left over"
        if wanted[key] != found[key]:
            return key, "is different"
    return None


def _parts(state: StateSnapshot) -> dict[str, Mapping[Any, object]]:
    return {
        "resources": state.resources,
        "numbers": state.allocations,
        "numbers on hold": state.held,
        "counters": {"counters": state.counters},
    }


def _still_to_do(cluster: SimulatedCluster, inputs: Inputs, asked: Asked) -> str | None:
    planned = plan(inputs, cluster.store, replace(asked, replace=()))
    return None if planned.empty else f"{planned.changes[0].address} is still to be {planned.changes[0].action}d"


def _unfinished(applied: ApplyResult) -> str:
    report = applied.report
    for ended in () if report is None else (report.failed + report.unknown):
        return f"{ended.step.address} on {ended.step.host}: {ended.message}"
    return "not every step was done"


def _message(error: ReconcilerError) -> str:
    return f"error[{error.code}]: {error.summary}"


def _agree(_: Plan) -> bool:
    return True
