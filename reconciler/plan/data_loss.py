"""Decides which losses of data a plan's approval covers, and which need a decision of their own."""

from __future__ import annotations

from reconciler.plan.diff import NOT_IN_STATE, UNFINISHED
from reconciler.plan.model import ASKED_FOR, Action, Change, Plan
from reconciler.plan.resources import GraphRole
from reconciler.spec.quoting import plural


def unasked_losses(plan: Plan) -> tuple[Change, ...]:
    """Return the changes that lose data although nobody asked for that: they need `--accept-data-loss`.

    What is destroyed by name, replaced by its address, or removed from its file was asked for. But a VM that is removed
    while another is created may be the same VM under a new name or a new owner, whose data should be kept.
    """
    made = [change for change in plan.changes if _makes_vm(change)]
    slices = {change.subject.slice for change in made}
    names = {_vm_name(change) for change in made}
    return tuple(change for change in plan.data_lost if not _asked(change, slices, names))


def losses_text(vms: int) -> str:
    """Say how many VMs lose their data."""
    return f"{plural(vms, 'VM')} {'loses its' if vms == 1 else 'lose their'} data"


def _asked(change: Change, slices: set[str | None], names: set[str]) -> bool:
    if change.action is Action.DELETE:
        renamed = change.subject.slice in slices or _vm_name(change) in names
        return change.reason == UNFINISHED or not renamed
    return change.action is Action.REPLACE and change.reason == ASKED_FOR


def _makes_vm(change: Change) -> bool:
    return change.reason == NOT_IN_STATE and change.subject.graph_role is GraphRole.NODE


def _vm_name(change: Change) -> str:
    return change.name.rpartition("/")[2]
