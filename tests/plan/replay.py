"""Computes the state after the steps of a plan, all of them or the first ones, without hosts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reconciler.plan.model import Action, Plan, Step
from reconciler.plan.snapshot import Claim, ResourceState, SliceAllocation, StateSnapshot, Status, claims
from reconciler.spec.models.names import Address, SliceKey


def replay(state: StateSnapshot, plan: Plan, done: int | None = None, *, cut: bool = True) -> StateSnapshot:
    """Return the state after the first `done` steps (None: all of them).

    With `cut` the next step was begun and its status is unknown; otherwise it was not begun.
    """
    count = len(plan.steps) if done is None else done
    resources = dict(state.resources)
    for step in plan.steps[:count]:
        known = resources.get(step.address)
        if step.after is None and known is not None and known.resource.host != step.host:
            resources[step.address] = ResourceState(known.resource)
        elif step.after is None:
            del resources[step.address]
        elif step.moves:
            resources[step.address] = ResourceState(step.after, Status.UNKNOWN, step.before)
        else:
            resources[step.address] = ResourceState(replace(step.after, formerly=()))
    left = plan.steps[count:]
    if left and cut:
        resources[left[0].address] = _begun(left[0], resources.get(left[0].address))
    return _numbered(state, plan, resources, left)


def _begun(step: Step, known: ResourceState | None) -> ResourceState:
    if step.action is Action.CREATE or known is None:
        return ResourceState(step.subject, Status.CREATING)
    if step.action is Action.DELETE and known.resource.host != step.host:
        return known
    if step.action is Action.DELETE:
        return replace(known, status=Status.DELETING)
    return ResourceState(known.resource, Status.UNKNOWN, step.after)


def _numbered(
    state: StateSnapshot, plan: Plan, resources: Mapping[Address, ResourceState], left: tuple[Step, ...]
) -> StateSnapshot:
    """Give the plan's numbers; those no longer given stay held until nothing of their slice is left to do."""
    allocations = dict(state.allocations) | dict(plan.allocations)
    held = dict(state.held)
    due = {step.subject.slice for step in left}
    existing = {entry.resource.slice for entry in resources.values()}
    for key in plan.slices:
        taken = _claimed(key, state.allocations.get(key)) | held.pop(key, frozenset())
        over = taken - _claimed(key, plan.allocations.get(key, state.allocations.get(key)))
        if over and key in due:
            held[key] = over
        if key not in plan.allocations and key not in existing:
            allocations.pop(key, None)
    return replace(
        state,
        serial=state.serial + 1,
        counters=plan.counters,
        allocations=allocations,
        held=held,
        resources=resources,
    )


def _claimed(key: SliceKey, had: SliceAllocation | None) -> frozenset[Claim]:
    return frozenset(claims(key, had)) if had else frozenset()


def within(state: StateSnapshot, *scope: SliceKey) -> StateSnapshot:
    """Return the state as a store reads it for some slices: their resources, and what slices share."""
    return replace(
        state,
        resources={
            where: entry
            for where, entry in state.resources.items()
            if entry.resource.slice is None or entry.resource.slice in scope
        },
    )
