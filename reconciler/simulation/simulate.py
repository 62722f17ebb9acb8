"""Plays an apply, stops it at its moments, and tells the first from which one more apply would not do.

The measure is the same apply left alone: hosts and record must end as they do there. How it is told is others' part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from reconciler import workflow
from reconciler.errors import ReconcilerError
from reconciler.plan.snapshot import SHARED, StateSnapshot
from reconciler.simulation.hosts import amiss
from reconciler.simulation.simulation import Checkpoint, Simulation, Stop

MOST: Final = 200
"""So many moments are played at most, of a plan that is small."""

FEWEST: Final = 20
"""So many are played of any plan that has as many."""

WORK: Final = 12_000
"""So many steps are performed in all, or so: what a moment costs grows with the steps of its plan."""

_GROUP: Final = 25
"""So many scenes are kept at once: each holds a copy of the whole record."""


@dataclass(frozen=True, slots=True)
class SimulationFailure:
    """Where one apply more did not do, and how that ended; `number` is 0 where the apply was not stopped at all."""

    number: int
    moment: str
    ended: str


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """What came of a rehearsal: how many moments there are, how many were played, and from how many distinct scenes."""

    moments: int
    played: int
    scenes: int
    flaw: SimulationFailure | None = None


Tell = Callable[[int, int], object]
"""Told how many of how many moments are played."""


def rehearse(
    stage: Simulation,
    inputs: workflow.Inputs,
    asked: workflow.Asked = workflow.NOTHING_ELSE,
    *,
    most: int | None = None,
    tell: Tell = lambda _played, _of: None,
) -> SimulationResult:
    """Stop an apply at its moments, and apply once more from each scene, as the stage stands now.

    Where there are more than `most` moments (by default as many as the size of the plan allows), that many are taken,
    as evenly as can be, with the first and the last.
    """
    start = stage.scene()
    measured = _measure(stage, inputs, asked)
    if isinstance(measured, SimulationFailure):
        return SimulationResult(0, 0, 0, measured)
    goal, moments = measured
    wanted = _evenly(moments, most or _bound(goal.steps))
    seen: set[int] = set()
    for played, stop in enumerate(_stops(stage, start, inputs, asked, wanted), start=1):
        for words, scene in _scenes(stop):
            if (known := hash(scene.print)) in seen:
                continue
            seen.add(known)
            if ended := _trouble(stage, scene, inputs, asked, goal):
                return SimulationResult(moments, played, len(seen), SimulationFailure(stop.number, words, ended))
        tell(played, len(wanted))
    return SimulationResult(moments, len(wanted), len(seen))


@dataclass(frozen=True, slots=True)
class _Goal:
    """How hosts and record end where nothing befalls an apply, and how many steps it has."""

    things: Mapping[Any, object]
    record: Mapping[str, Mapping[Any, object]]
    steps: int


def _measure(
    stage: Simulation, inputs: workflow.Inputs, asked: workflow.Asked
) -> tuple[_Goal, int] | SimulationFailure:
    moments = 0

    def passing(_: str) -> None:
        nonlocal moments
        moments += 1

    try:
        applied = stage.watched(inputs, asked, passing)
        ended = _amiss(stage) or _still_to_do(stage, inputs, asked) if applied.ok else _unfinished(applied)
    except ReconcilerError as error:
        ended = _words(error)
    if ended is not None:
        return SimulationFailure(0, "left alone", ended)
    return _Goal(stage.standing(), _parts(stage.store.read()), len(applied.plan.steps)), moments


def _bound(steps: int) -> int:
    return min(max(WORK // max(steps, 1), FEWEST), MOST)


def _evenly(moments: int, most: int) -> Sequence[int]:
    """Return numbers from 1 to `moments`, at most so many, with the first and the last."""
    if moments <= most:
        return range(1, moments + 1)
    return [1 + place * (moments - 1) // (most - 1) for place in range(most)]


def _stops(
    stage: Simulation, start: Checkpoint, inputs: workflow.Inputs, asked: workflow.Asked, wanted: Sequence[int]
) -> Iterator[Stop]:
    """Yield the stops of these numbers; some are made at a time, each time by playing the apply again."""
    for first in range(0, len(wanted), _GROUP):
        stage.rewind(start)
        yield from stage.stops(inputs, asked, frozenset(wanted[first : first + _GROUP]).__contains__)


def _scenes(stop: Stop) -> Iterator[tuple[str, Checkpoint]]:
    """Yield what may follow a stop: hosts go on with what they were in the middle of, or are cut off."""
    if not stop.scene.busy:
        yield stop.words, stop.scene
        return
    yield f"{stop.words}, and hosts went on", stop.scene
    yield f"{stop.words}, and hosts were cut off", stop.scene.cut()


def _trouble(
    stage: Simulation, scene: Checkpoint, inputs: workflow.Inputs, asked: workflow.Asked, goal: _Goal
) -> str | None:
    """Apply once more from a scene, and return what is not as it should be; None where all is."""
    stage.rewind(scene)
    if found := _amiss(stage):
        return found
    try:
        applied = stage.apply(inputs, _still_asked(stage, asked))
        if not applied.ok:
            return _unfinished(applied)
        return _astray(stage, goal) or _amiss(stage) or _still_to_do(stage, inputs, asked)
    except ReconcilerError as error:
        return _words(error)


def _still_asked(stage: Simulation, asked: workflow.Asked) -> workflow.Asked:
    """Return what is asked for without what is to be made anew and does not stand any more: it is made as missing."""
    standing = stage.store.read().resources
    return replace(asked, replace=tuple(where for where in asked.replace if where in standing))


def _amiss(stage: Simulation) -> str | None:
    return next(iter(amiss(stage.hosts)), None)


def _astray(stage: Simulation, goal: _Goal) -> str | None:
    """Return the first thing on hosts, or in the record, that is not as when the apply is left alone."""
    if found := _difference(goal.things, stage.standing()):
        return f"{found[0][1]} on {found[0][0]} {found[1]}"
    for part, entries in _parts(stage.store.read()).items():
        if found := _difference(goal.record[part], entries):
            return f"{found[0]} of the record's {part} {found[1]}"
    # A dead apply's lock of what slices share is left by an apply that does not need it.
    left = sorted({lock.name for lock in stage.store.locks()} - {SHARED})
    return f"the lock of {left[0]} is still held" if left else None


def _difference(wanted: Mapping[Any, object], found: Mapping[Any, object]) -> tuple[Any, str] | None:
    for key in sorted(wanted.keys() | found.keys(), key=str):
        if key not in found:
            return key, "is missing"
        if key not in wanted:
            return key, "is left over"
        if wanted[key] != found[key]:
            return key, "is not as it should be"
    return None


def _parts(recorded: StateSnapshot) -> dict[str, Mapping[Any, object]]:
    return {
        "resources": recorded.resources,
        "numbers": recorded.allocations,
        "numbers on hold": recorded.held,
        "counters": {"counters": recorded.counters},
    }


def _still_to_do(stage: Simulation, inputs: workflow.Inputs, asked: workflow.Asked) -> str | None:
    planned = workflow.plan(inputs, stage.store, replace(asked, replace=()))
    return None if planned.empty else f"{planned.changes[0].address} is still to be {planned.changes[0].action}d"


def _unfinished(applied: workflow.ApplyResult) -> str:
    report = applied.report
    for ended in () if report is None else (report.failed + report.unknown):
        return f"{ended.step.address} on {ended.step.host}: {ended.words}"
    return "not all was done"


def _words(error: ReconcilerError) -> str:
    return f"error[{error.code}]: {error.summary}"
