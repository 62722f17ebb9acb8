"""Orders changes as steps: what others depend on is created first and removed last."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, pairwise

from reconciler.errors import PlanError
from reconciler.plan.model import Action, Change, Step, StepId
from reconciler.plan.resources import Resource
from reconciler.plan.resources.base import kind_in
from reconciler.spec.models.names import Address


def order(changes: Sequence[Change], moves_at_once: int | None = None) -> tuple[Step, ...]:
    """Return the steps, numbered in an order in which they can run one by one; each names the steps before it.

    Creations follow `needs`, and `after` but for what is created of the kinds that they may precede. Removals run the
    other way. An update that lets go of a resource comes before that resource's removal. With `moves_at_once`, no more
    VMs than that are stopped at a time because their disks move. Raises PlanError where resources need each other in a
    circle, which no file can cause.
    """
    halves = _Halves(changes)
    before: list[list[int]] = [[] for _ in halves.changes]
    following: list[list[int]] = [[] for _ in halves.changes]
    edges = [_creation_edges(halves)]
    if halves.removals:
        edges += [_removal_edges(halves), _replacement_edges(halves), _release_edges(halves), _farewell_edges(halves)]
        edges += [_turn_edges(halves, moves_at_once)] if moves_at_once is not None else []
    for one, other in chain.from_iterable(edges):
        if one not in before[other]:
            before[other].append(one)
            following[one].append(other)
    sequence = _sorted(before, following)
    if len(sequence) < len(before):
        circle = " -> ".join(halves.changes[half].address for half in _circle(before, set(sequence)))
        raise PlanError(f"resources need each other in a circle: {circle}")
    numbers = [0] * len(before)
    for number, half in enumerate(sequence, start=1):
        numbers[half] = number
    return tuple([_step(halves, half, numbers, before[half]) for half in sequence])


class _Halves:
    """The future steps, numbered from 0: of each change its removals, its creation or update, or both.

    `gone` has what each removal removes: also what an unfinished move left. `departures` are those removals that delete
    what a move has copied.
    """

    def __init__(self, changes: Iterable[Change]) -> None:
        self.changes: list[Change] = []
        self.gone: dict[int, Resource] = {}
        self.removals: dict[Address, list[int]] = {}
        self.departures: dict[Address, int] = {}
        self.creations: dict[Address, int] = {}
        for change in changes:
            if change.leftover is not None:
                self._remove(change, change.leftover)
            if change.action in {Action.DELETE, Action.REPLACE}:
                assert change.before is not None, "only what exists is removed"  # noqa: S101 - an invariant of changes
                self._remove(change, change.before)
            if change.action is not Action.DELETE:
                self.creations[change.address] = self._add(change)
            if change.moves and change.before is not None:
                self.departures[change.address] = self._remove(change, change.before)

    def _add(self, change: Change) -> int:
        self.changes.append(change)
        return len(self.changes) - 1

    def _remove(self, change: Change, resource: Resource) -> int:
        half = self._add(change)
        self.gone[half] = resource
        self.removals.setdefault(change.address, []).append(half)
        return half


def _dependencies(resource: Resource | None) -> tuple[Address, ...]:
    return () if resource is None else resource.needs + resource.after


def _creation_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    find = halves.creations.get
    for half in halves.creations.values():
        created = halves.changes[half].after
        for need in _dependencies(created):
            if (other := find(need)) is not None and not _may_precede(halves.changes[half], halves.changes[other]):
                yield other, half


def _may_precede(change: Change, need: Change) -> bool:
    """Whether a resource is created without waiting for another one that is created too.

    It waits for a change of what exists: the guest of a new VM would be given the address that its segment had before.
    """
    new = change.action is not Action.UPDATE and need.action is Action.CREATE
    return new and kind_in(need.address) in change.subject.may_precede


def _removal_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    for half, resource in halves.gone.items():
        for need in _dependencies(resource):
            for other in halves.removals.get(need, ()):
                yield half, other


def _replacement_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    """Order the steps of one address: what a move left, what goes, what comes, and what was copied."""
    for where, removals in halves.removals.items():
        departure = halves.departures.get(where)
        steps = [half for half in removals if half != departure]
        steps += [half for half in (halves.creations.get(where), departure) if half is not None]
        yield from pairwise(steps)


def _release_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    """Order an update before the removal of what it lets go, and a move after the removal of what uses the content."""
    for half in halves.creations.values():
        change = halves.changes[half]
        if change.action is Action.UPDATE and change.before:
            for need in change.before.needs:
                if need not in halves.creations:
                    yield from ((half, other) for other in halves.removals.get(need, ()))
    if halves.departures:
        for half, resource in halves.gone.items():
            for need in resource.needs:
                if need in halves.departures:
                    yield half, halves.creations[need]


def _farewell_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    """Order the update of a guest that loses an address after the removal of the segment that would give it again."""
    for half in halves.creations.values():
        change = halves.changes[half]
        if change.action is Action.UPDATE and change.before and change.subject.may_precede:
            for need in change.before.after:
                if kind_in(need) in change.subject.may_precede and need not in halves.creations:
                    yield from ((other, half) for other in halves.removals.get(need, ()))


def _turn_edges(halves: _Halves, moves_at_once: int) -> Iterator[tuple[int, int]]:
    """Order what stops for a move after what has moved so many turns earlier."""
    turns = dict.fromkeys(
        halves.changes[half].address
        for half, resource in halves.gone.items()
        if any(need in halves.departures for need in resource.needs)
    )
    users = [where for where in turns if where in halves.creations]
    for earlier, later in zip(users, users[moves_at_once:], strict=False):
        yield from ((halves.creations[earlier], half) for half in halves.removals[later])


def _sorted(before: Sequence[Sequence[int]], following: Sequence[Sequence[int]]) -> list[int]:
    """Return the steps, each after all that come before them (Kahn's algorithm), without those in or behind a circle.

    Importing networkx takes longer than this does for all but the largest plans.
    """
    missing = [len(steps) for steps in before]
    found = [half for half, count in enumerate(missing) if not count]
    for half in found:  # the list grows meanwhile
        for other in following[half]:
            missing[other] -= 1
            if not missing[other]:
                found.append(other)
    return found


def _circle(before: Sequence[Sequence[int]], done: Collection[int]) -> list[int]:
    """Return one circle of those steps that could not be placed: each waits for another one of them."""
    path = [next(half for half in range(len(before)) if half not in done)]
    while True:
        half = next(half for half in before[path[-1]] if half not in done)
        if half in path:
            return [half, *reversed(path[path.index(half) + 1 :])]
        path.append(half)


def _step(halves: _Halves, half: int, numbers: Sequence[int], before: Iterable[int]) -> Step:
    change, number = halves.changes[half], StepId(numbers[half])
    needs = tuple(sorted([StepId(numbers[other]) for other in before])) if before else ()
    if (gone := halves.gone.get(half)) is not None:
        return Step(number, Action.DELETE, change.address, gone.host, gone, None, needs)
    assert change.after is not None, "only what is desired is created"  # noqa: S101 - an invariant of changes
    updates = change.action is Action.UPDATE
    before_it = change.before if updates else None
    action = Action.UPDATE if updates else Action.CREATE
    return Step(number, action, change.address, change.after.host, before_it, change.after, needs)
