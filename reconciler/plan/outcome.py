"""Computes the state that a plan leads to, without hosts: what was planned is there, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from reconciler.plan.model import Plan
from reconciler.plan.renames import renamed_state
from reconciler.plan.snapshot import ResourceState, StateSnapshot


def carried_out(state: StateSnapshot, plan: Plan) -> StateSnapshot:
    """Return the state after all steps of a plan that was made from it; no claim of its slices is held any more."""
    renamed = renamed_state(state, plan.renames)
    resources = dict(renamed.resources)
    for change in plan.changes:
        if change.after is None:
            resources.pop(change.address, None)
        else:
            resources[change.address] = ResourceState(replace(change.after, formerly=()))
    allocations = dict(renamed.allocations) | dict(plan.allocations)
    gone = set(plan.slices) - plan.allocations.keys()
    return replace(
        renamed,
        serial=state.serial + 1,
        counters=plan.counters,
        allocations={key: had for key, had in allocations.items() if key not in gone},
        held={key: claims for key, claims in renamed.held.items() if key not in plan.slices},
        resources=resources,
    )
