"""From changes to steps in a dependency graph: what others stand on is made first and removed last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import networkx as nx

from reconciler.errors import PlanError
from reconciler.plan.model import Action, Change, Step, StepId
from reconciler.plan.resources import Resource
from reconciler.spec.names import Address


class _Half(NamedTuple):
    """One step in the making: a change's removal, or its making."""

    removal: bool
    where: Address


def _removal(where: Address) -> _Half:
    return _Half(removal=True, where=where)


def _making(where: Address) -> _Half:
    return _Half(removal=False, where=where)


def order(changes: Sequence[Change]) -> tuple[Step, ...]:
    """Return the steps, numbered in an order that could be followed one by one; each names the steps before it.

    Creations follow `needs` and `after`; removals run the other way; an update that lets go of a resource comes before
    that resource's removal. Raises PlanError where resources need each other in a circle, which no file can cause.
    """
    graph: nx.DiGraph[_Half] = nx.DiGraph()
    removed = {change.address: change.before for change in changes if change.before and _removes(change)}
    made = {change.address: change.after for change in changes if change.after}
    graph.add_nodes_from(_removal(where) for where in removed)
    graph.add_nodes_from(_making(where) for where in made)
    graph.add_edges_from(_making_edges(made))
    graph.add_edges_from(_removal_edges(removed))
    graph.add_edges_from((_removal(where), _making(where)) for where in removed if where in made)
    graph.add_edges_from(_release_edges(changes, removed, made))
    try:
        halves = list(nx.topological_sort(graph))
    except nx.NetworkXUnfeasible as error:
        circle = " -> ".join(edge[0].where for edge in nx.find_cycle(graph))
        raise PlanError(f"resources need each other in a circle: {circle}") from error
    return _number(halves, graph, {change.address: change for change in changes})


def _removes(change: Change) -> bool:
    return change.action in {Action.DELETE, Action.REPLACE}


def _foundations(resource: Resource) -> Iterator[Address]:
    yield from resource.needs
    yield from resource.after


def _making_edges(made: Mapping[Address, Resource]) -> Iterator[tuple[_Half, _Half]]:
    for where, resource in made.items():
        for need in _foundations(resource):
            if need in made:
                yield _making(need), _making(where)


def _removal_edges(removed: Mapping[Address, Resource]) -> Iterator[tuple[_Half, _Half]]:
    for where, resource in removed.items():
        for need in _foundations(resource):
            if need in removed:
                yield _removal(where), _removal(need)


def _release_edges(
    changes: Iterable[Change], removed: Mapping[Address, Resource], made: Mapping[Address, Resource]
) -> Iterator[tuple[_Half, _Half]]:
    for change in changes:
        if change.action is Action.UPDATE and change.before:
            for need in change.before.needs:
                if need in removed and need not in made:
                    yield _making(change.address), _removal(need)


def _number(halves: Sequence[_Half], graph: nx.DiGraph[_Half], changes: Mapping[Address, Change]) -> tuple[Step, ...]:
    numbers = {half: StepId(number) for number, half in enumerate(halves, start=1)}
    return tuple(
        _step(changes[half.where], half, numbers[half], tuple(sorted(numbers[before] for before in graph.pred[half])))
        for half in halves
    )


def _step(change: Change, half: _Half, number: StepId, needs: tuple[StepId, ...]) -> Step:
    if half.removal:
        assert change.before is not None, "only what stands is removed"  # noqa: S101
        return Step(number, Action.DELETE, change.address, change.before.host, change.before, None, needs)
    assert change.after is not None, "only what is wanted is made"  # noqa: S101
    updates = change.action is Action.UPDATE
    before = change.before if updates else None
    action = Action.UPDATE if updates else Action.CREATE
    return Step(number, action, change.address, change.after.host, before, change.after, needs)
