"""Orders changes as steps: what others depend on is created first and removed last."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain

from reconciler.errors import PlanError
from reconciler.plan.model import Action, Change, Step, StepId
from reconciler.plan.resources import Resource
from reconciler.plan.resources.base import kind_in
from reconciler.spec.models.names import Address


def order(changes: Sequence[Change]) -> tuple[Step, ...]:
    """Return the steps, numbered in an order in which they can run one by one; each names the steps before it.

    Creations follow `needs`, and `after` but for the kinds that they may precede. Removals run the other way. An update
    that lets go of a resource comes before that resource's removal. Raises PlanError where resources need each other in
    a circle, which no file can cause.
    """
    halves = _Halves(changes)
    before: list[list[int]] = [[] for _ in halves.changes]
    following: list[list[int]] = [[] for _ in halves.changes]
    edges = [_creation_edges(halves)]
    if halves.removals:
        edges += [_removal_edges(halves), _replacement_edges(halves), _release_edges(halves)]
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
    """The future steps, numbered from 0: of each change its removal, its creation or update, or both."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self.changes: list[Change] = []
        self.removals: dict[Address, int] = {}
        self.creations: dict[Address, int] = {}
        self.replaced: list[Address] = []
        for change in changes:
            if change.action is Action.DELETE or change.action is Action.REPLACE:
                self._add(self.removals, change)
            if change.action is not Action.DELETE:
                self._add(self.creations, change)
            if change.action is Action.REPLACE:
                self.replaced.append(change.address)

    def _add(self, halves: dict[Address, int], change: Change) -> None:
        halves[change.address] = len(self.changes)
        self.changes.append(change)


def _dependencies(resource: Resource | None) -> tuple[Address, ...]:
    return () if resource is None else resource.needs + resource.after


def _creation_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    find = halves.creations.get
    for half in halves.creations.values():
        created = halves.changes[half].after
        later = frozenset() if created is None else created.may_precede
        for need in _dependencies(created):
            if (other := find(need)) is not None and not (later and kind_in(need) in later):
                yield other, half


def _removal_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    for half in halves.removals.values():
        for need in _dependencies(halves.changes[half].before):
            if need in halves.removals:
                yield half, halves.removals[need]


def _replacement_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    for where in halves.replaced:
        yield halves.removals[where], halves.creations[where]


def _release_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    for half in halves.creations.values():
        change = halves.changes[half]
        if change.action is Action.UPDATE and change.before:
            for need in change.before.needs:
                if need in halves.removals and need not in halves.creations:
                    yield half, halves.removals[need]


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
    if change.action is Action.CREATE:
        return Step(number, Action.CREATE, change.address, change.subject.host, None, change.after, needs)
    if halves.removals.get(change.address) == half:
        assert change.before is not None, "only what exists is removed"  # noqa: S101 - an invariant of changes
        return Step(number, Action.DELETE, change.address, change.before.host, change.before, None, needs)
    assert change.after is not None, "only what is desired is created"  # noqa: S101 - an invariant of changes
    updates = change.action is Action.UPDATE
    before_it = change.before if updates else None
    action = Action.UPDATE if updates else Action.CREATE
    return Step(number, action, change.address, change.after.host, before_it, change.after, needs)
