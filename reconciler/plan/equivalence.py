"""Compares a plan with one made again from a record that has moved on: does it do the same, and to what; pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.plan.model import Action, Change, Plan
from reconciler.plan.resources import Trunk
from reconciler.spec.models.names import Address


def same_work(one: Plan, other: Plan) -> bool:
    """Whether two plans do the same things with the same numbers."""
    return one.changes == other.changes and one.allocations == other.allocations


def same_but_for_numbers(one: Plan, other: Plan) -> bool:
    """Whether two plans do the same but for what they give to things that are new: ids, VLANs, addresses, workers.

    All else that they change is the same to the last attribute. New things that are counted by workers, or that slices
    share, may be others: images and trunks go where the VMs go, and one that stands meanwhile is not made twice.
    """
    return _touched(one) == _touched(other) and _made(one) == _made(other)


def _touched(plan: Plan) -> Mapping[Address, Change]:
    """Return what is done to what is there, or was: a new disk in the place of a lost one is nothing new."""
    return {change.address: change for change in plan.changes if not _is_new(change)}


def _made(plan: Plan) -> frozenset[Address]:
    return frozenset(
        change.address
        for change in plan.changes
        if _is_new(change) and change.subject.slice is not None and not isinstance(change.subject, Trunk)
    )


def _is_new(change: Change) -> bool:
    return change.action is Action.CREATE and not change.loses_data
