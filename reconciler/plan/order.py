"""Orders changes as steps: what others depend on is created first and removed last."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from reconciler.errors import PlanError
from reconciler.plan.model import Action, Change, Step, StepId
from reconciler.plan.resources import Resource
from reconciler.spec.models.names import Address


def order(changes: Sequence[Change]) -> tuple[Step, ...]:
    """Return the steps, numbered in an order in which they can run one by one; each names the steps before it.

    Creations follow `needs` and `after`. Removals run the other way. An update that lets go of a resource comes before
    that resource's removal. Raises PlanError where resources need each other in a circle, which no file can cause.
    """
    halves = _Halves(changes)
    before: list[list[int]] = [[] for _ in halves.changes]
    following: list[list[int]] = [[] for _ in halves.changes]
    for edges in (_creation_edges(halves), _removal_edges(halves), _replacement_edges(halves), _release_edges(halves)):
        for one, other in edges:
            if one not in before[other]:
                before[other].append(one)
                following[one].append(other)
    numbers = {half: StepId(number) for number, half in enumerate(_sorted(before, following), start=1)}
    if len(numbers) < len(before):
        circle = " -> ".join(halves.changes[half].address for half in _circle(before, numbers))
        raise PlanError(f"resources need each other in a circle: {circle}")
    return tuple([_step(halves, half, numbers, before[half]) for half in numbers])


class _Halves:
    """The future steps, numbered from 0: of each change its removal, its creation or update, or both."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self.changes: list[Change] = []
        self.removals: dict[Address, int] = {}
        self.creations: dict[Address, int] = {}
        self.replaced: list[Address] = []
        for change in changes:
            if change.action in {Action.DELETE, Action.REPLACE}:
                self._add(self.removals, change)
            if change.action is not Action.DELETE:
                self._add(self.creations, change)
            if change.action is Action.REPLACE:
                self.replaced.append(change.address)

    def _add(self, halves: dict[Address, int], change: Change) -> None:
        halves[change.address] = len(self.changes)
        self.changes.append(change)


def _dependencies(resource: Resource | None) -> tuple[Address, ...]:
    return () if resource is None else (*resource.needs, *resource.after)


def _creation_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    for half in halves.creations.values():
        for need in _dependencies(halves.changes[half].after):
            if need in halves.creations:
                yield halves.creations[need], half


def _removal_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    for half in halves.removals.values():
        for need in _dependencies(halves.changes[half].before):
            if need in halves.removals:
                yield half, halves.removals[need]


def _replacement_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    for where in halves.replaced:
        yield halves.removals[where], halves.creations[where]


def _release_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    for half in halves.creations.values() if halves.removals else ():
        change = halves.changes[half]
        if change.action is Action.UPDATE and change.before:
            for need in change.before.needs:
                if need in halves.removals and need not in halves.creations:
                    yield half, halves.removals[need]


def _sorted(before: Sequence[Sequence[int]], following: Sequence[Sequence[int]]) -> Iterator[int]:
    """Yield the steps after all that come before them (Kahn's algorithm); those in or behind a circle are left out.

    Importing networkx takes longer than this does for all but the largest plans.
    """
    missing = [len(steps) for steps in before]
    ready = deque(half for half, count in enumerate(missing) if not count)
    while ready:
        half = ready.popleft()
        yield half
        for other in following[half]:
            missing[other] -= 1
            if not missing[other]:
                ready.append(other)


def _circle(before: Sequence[Sequence[int]], numbers: Mapping[int, StepId]) -> list[int]:
    """Return one circle, of those steps that got no number: each of them waits for another one of them."""
    path = [next(half for half in range(len(before)) if half not in numbers)]
    while True:
        half = next(half for half in before[path[-1]] if half not in numbers)
        if half in path:
            return [half, *reversed(path[path.index(half) + 1 :])]
        path.append(half)


def _step(halves: _Halves, half: int, numbers: Mapping[int, StepId], before: Iterable[int]) -> Step:
    change = halves.changes[half]
    needs = tuple(sorted([numbers[other] for other in before]))
    if halves.removals.get(change.address) == half:
        assert change.before is not None, "only what exists is removed"  # noqa: S101 - an invariant of changes
        return Step(numbers[half], Action.DELETE, change.address, change.before.host, change.before, None, needs)
    assert change.after is not None, "only what is desired is created"  # noqa: S101 - an invariant of changes
    updates = change.action is Action.UPDATE
    before_it = change.before if updates else None
    action = Action.UPDATE if updates else Action.CREATE
    return Step(numbers[half], action, change.address, change.after.host, before_it, change.after, needs)
