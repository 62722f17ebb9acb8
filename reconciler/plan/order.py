"""From changes to steps in a dependency graph: what others stand on is made first and removed last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import networkx as nx

from reconciler.errors import PlanError
from reconciler.plan.model import Action, Change, Step, StepId
from reconciler.plan.resources import Resource
from reconciler.spec.models.names import Address


def order(changes: Sequence[Change]) -> tuple[Step, ...]:
    """Return the steps, numbered in an order that could be followed one by one; each names the steps before it.

    Creations follow `needs` and `after`; removals run the other way; an update that lets go of a resource comes before
    that resource's removal. Raises PlanError where resources need each other in a circle, which no file can cause.
    """
    halves = _Halves(changes)
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(halves.changes)))
    graph.add_edges_from(_making_edges(halves))
    graph.add_edges_from(_removal_edges(halves))
    graph.add_edges_from((halves.removals[where], halves.makings[where]) for where in halves.replaced)
    graph.add_edges_from(_release_edges(halves))
    try:
        numbers = {half: StepId(number) for number, half in enumerate(nx.topological_sort(graph), start=1)}
    except nx.NetworkXUnfeasible as error:
        circle = " -> ".join(halves.changes[edge[0]].address for edge in nx.find_cycle(graph))
        raise PlanError(f"resources need each other in a circle: {circle}") from error
    return tuple([_step(halves, half, numbers, graph.pred[half]) for half in numbers])


class _Halves:
    """The steps in the making, numbered: each change's removal and its making, where it has them."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self.changes: list[Change] = []
        self.removals: dict[Address, int] = {}
        self.makings: dict[Address, int] = {}
        self.replaced: list[Address] = []
        for change in changes:
            if change.action in {Action.DELETE, Action.REPLACE}:
                self._add(self.removals, change)
            if change.action is not Action.DELETE:
                self._add(self.makings, change)
            if change.action is Action.REPLACE:
                self.replaced.append(change.address)

    def _add(self, halves: dict[Address, int], change: Change) -> None:
        halves[change.address] = len(self.changes)
        self.changes.append(change)


def _foundations(resource: Resource | None) -> tuple[Address, ...]:
    return () if resource is None else (*resource.needs, *resource.after)


def _making_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    for half in halves.makings.values():
        for need in _foundations(halves.changes[half].after):
            if need in halves.makings:
                yield halves.makings[need], half


def _removal_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    for half in halves.removals.values():
        for need in _foundations(halves.changes[half].before):
            if need in halves.removals:
                yield half, halves.removals[need]


def _release_edges(halves: _Halves) -> Iterator[tuple[int, int]]:
    for half in halves.makings.values():
        change = halves.changes[half]
        if change.action is Action.UPDATE and change.before:
            for need in change.before.needs:
                if need in halves.removals and need not in halves.makings:
                    yield half, halves.removals[need]


def _step(halves: _Halves, half: int, numbers: Mapping[int, StepId], before: Iterable[int]) -> Step:
    change = halves.changes[half]
    needs = tuple(sorted([numbers[other] for other in before]))
    if halves.removals.get(change.address) == half:
        assert change.before is not None, "only what stands is removed"  # noqa: S101
        return Step(numbers[half], Action.DELETE, change.address, change.before.host, change.before, None, needs)
    assert change.after is not None, "only what is wanted is made"  # noqa: S101
    updates = change.action is Action.UPDATE
    before_it = change.before if updates else None
    action = Action.UPDATE if updates else Action.CREATE
    return Step(numbers[half], action, change.address, change.after.host, before_it, change.after, needs)
