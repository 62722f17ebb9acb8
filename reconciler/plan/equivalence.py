"""Compares a plan with one built later from a changed state: whether it makes the same changes."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.plan.model import Action, Change, Plan
from reconciler.plan.resources import Unit
from reconciler.spec.models.names import Address


def same_work(one: Plan, other: Plan) -> bool:
    """Whether two plans make the same changes with the same numbers."""
    return one.changes == other.changes and one.allocations == other.allocations


def same_but_for_numbers(one: Plan, other: Plan) -> bool:
    """Whether two plans differ only in the numbers of new resources: ids, VLANs, addresses, workers.

    Every change to an existing resource is the same in each attribute. New resources of hosts, and those that slices
    share, may differ: images and trunks go where the VMs go, and one that exists by now is not created again.
    """
    return _touched(one) == _touched(other) and _made(one) == _made(other)


def _touched(plan: Plan) -> Mapping[Address, Change]:
    """Return the changes to what exists or existed. A new disk in the place of a missing one counts as existing."""
    return {change.address: change for change in plan.changes if not _is_new(change)}


def _made(plan: Plan) -> frozenset[Address]:
    return frozenset(
        change.address
        for change in plan.changes
        if _is_new(change) and change.subject.slice is not None and change.subject.unit is not Unit.HOST
    )


def _is_new(change: Change) -> bool:
    return change.action is Action.CREATE and not change.data_lost
