"""Decides whether a plan is stale: whether any part of the state that it was made from has changed since."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reconciler.errors import StateMoved
from reconciler.plan.model import Plan
from reconciler.spec.models.names import SliceKey
from reconciler.state.codec import encode_allocation


def check(
    meta: Any, plan: Plan, moved: Mapping[SliceKey, int], documents: Callable[[], Mapping[SliceKey, str]]
) -> None:
    """Raise StateMoved where a plan is stale; the message says what has changed.

    `meta` is the state's first row, `moved` the serial at which each slice in scope last changed, and `documents` reads
    their allocations. A plan depends on its own slices, on what slices share, and, where it gives out numbers, on the
    numbers of every slice. So plans of different slices that give out none may be applied in any order.
    """
    if meta.serial == 0 and plan.lineage == "":
        return  # planned when there was no state yet, and this one is still empty
    if plan.lineage != meta.lineage:
        raise StateMoved(
            "the plan was made from another state "
            f"(its lineage is {plan.lineage or 'empty'}, this state's is {meta.lineage})",
            hint="plan again with this state",
        )
    if plan.serial > meta.serial:
        raise _moved(f"the state is older than the plan (serial {meta.serial}, the plan's {plan.serial})")
    for key in concerned(plan):
        if moved.get(key, meta.given_moved) > plan.serial:
            raise _moved(f"{key} has changed since the plan was made")
    if meta.shared_moved > plan.serial:
        raise _moved("what slices share has changed since the plan was made")
    missing = next((rename.former for rename in plan.renames if rename.former not in moved), None)
    if missing is not None:
        raise _moved(f"the state no longer has {missing}")
    if meta.given_moved > plan.serial and changed_allocations(plan, documents()):
        raise _moved("numbers have been given out since the plan was made")


def concerned(plan: Plan) -> tuple[SliceKey, ...]:
    """Return the slices that a plan depends on, by all their names: the state has a renamed one under its former."""
    return (*plan.slices, *(rename.former for rename in plan.renames))


def changed_allocations(plan: Plan, documents: Mapping[SliceKey, str]) -> dict[SliceKey, str]:
    """Return the documents of a plan's allocations that differ from those in the state."""
    wanted = {key: encode_allocation(plan.allocations[key]) for key in plan.slices if key in plan.allocations}
    return {key: document for key, document in sorted(wanted.items()) if documents.get(key) != document}


def _moved(what: str) -> StateMoved:
    return StateMoved(what, hint="plan again, and review what has changed")
