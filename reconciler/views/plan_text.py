"""Formats a plan as text: the changes of each slice with their reasons, and one line with all counts.

A plan that creates or deletes more than a few VMs is grouped: a VM stands for what is made or deleted with it, and the
rest is counted by kind. What is updated or replaced is always shown, except where only its slice has another name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from reconciler.plan.data_loss import losses_text
from reconciler.plan.diff import RENAMED, entry_changes
from reconciler.plan.model import DATA_LOST, Action, AttributeChange, Change, Counts, Disturbance, Plan
from reconciler.plan.renames import former_slices
from reconciler.plan.resources import GraphRole, Unit
from reconciler.spec.models.fields import UpdatePolicy
from reconciler.spec.quoting import listed, plural
from reconciler.views.values import essence, show_change

SYMBOLS = {Action.CREATE: "+", Action.UPDATE: "~", Action.DELETE: "-", Action.REPLACE: "-/+"}
DISTURBED = "!"
_WIDTH = 3
_GROUPED = frozenset({Action.CREATE, Action.DELETE})

_NAMED = 6
"""So many VMs whose restart is pending are named."""

FEW_VMS = 3
"""So many new or deleted VMs are shown with all their resources."""

_NOTES = {
    UpdatePolicy.RECREATE: "forces replacement",
    UpdatePolicy.IMMUTABLE: "forces replacement",
    UpdatePolicy.RESTART: "restarts the VM",
}


def render_text(plan: Plan, *, full: bool = False) -> str:
    """Return the plan, with a newline at the end; the same plan gives the same text.

    Without `full`, the changes of more than FEW_VMS new, deleted or renamed VMs are grouped.
    """
    if plan.empty:
        return "\n".join([summary(plan), *_restart_pending(plan)]) + "\n"
    lines: list[str] = []
    grouped = not full and sum(map(_many_of, plan.changes)) > FEW_VMS
    for key, group in groupby(plan.changes, key=lambda change: change.subject.slice):
        disturbed = [item for item in plan.disturbed if item.slice == key]
        lines += [f"{_title(plan, key)}:", *slice_lines(list(group), disturbed, grouped=grouped), ""]
    shown = {change.subject.slice for change in plan.changes}
    for key, others in groupby((item for item in plan.disturbed if item.slice not in shown), lambda item: item.slice):
        lines.extend([f"{_title(plan, key)}:", *map(_disturbance, others), ""])
    if grouped:
        lines += ["`reconciler plan --full` shows every resource.", ""]
    lines += [summary(plan), *_restart_pending(plan)]
    return "\n".join(lines) + "\n"


def slice_lines(changes: Sequence[Change], disturbed: Iterable[Disturbance], *, grouped: bool) -> Iterator[str]:
    """Yield the lines of the changes of one slice, or of what slices share, and of the VMs that are disturbed."""
    yield from _grouped(changes) if grouped else (line for change in changes for line in _change(change))
    yield from map(_disturbance, disturbed)


def summary(plan: Plan) -> str:
    """Return the line with all counts of a plan."""
    if plan.empty:
        count = len(plan.slices)
        return f"No changes. {plural(count, 'slice')} {'matches' if count == 1 else 'match'} the state."
    counts = plan.counts
    changes = (
        f"{counts.add} to add, {counts.change} to change, {counts.replace} to replace, {counts.destroy} to destroy"
    )
    return f"Plan: {changes}.{_impact(counts)}"


def _restart_pending(plan: Plan) -> Iterator[str]:
    """Name the VMs that go on as an earlier version started them: no plan restarts them for that."""
    if plan.restart_pending:
        names = listed([where.partition("/")[2] for where in plan.restart_pending], _NAMED)
        vms = plural(len(plan.restart_pending), "VM")
        yield f"Restart pending for {vms}: {names}. An earlier version started QEMU there; its next start renews it."


def _impact(counts: Counts) -> str:
    parts = []
    if counts.restarts:
        parts.append(f"{plural(counts.restarts, 'VM')} {'restarts' if counts.restarts == 1 else 'restart'}")
    if counts.interrupted:
        parts.append(f"{plural(counts.interrupted, 'link')} interrupted")
    if counts.lost:
        parts.append(losses_text(counts.lost))
    if counts.renamed:
        parts.append(f"{counts.renamed} renamed")
    return f" {', '.join(parts)}." if parts else ""


def _title(plan: Plan, key: str | None) -> str:
    if key is None:
        return "shared by slices"
    given = next((had for name, had in plan.allocations.items() if name == key), None)
    if given is None:
        return f"slice {key}"
    pool = ", ".join(str(block) for block in given.pool)
    return f"slice {key} (id {given.id}, VLANs {pool})"


def _comes_or_goes(change: Change) -> bool:
    return change.action in _GROUPED and change.subject.graph_role is GraphRole.NODE


def _many_of(change: Change) -> bool:
    """Whether a change is of a VM of which there are many alike: new ones, or of a renamed slice."""
    return _comes_or_goes(change) or (change.subject.graph_role is GraphRole.NODE and _only_slice_renamed(change))


def _only_slice_renamed(change: Change) -> bool:
    return change.renames and not change.attributes and bool(former_slices(change.subject))


def _grouped(changes: Sequence[Change]) -> Iterator[str]:
    """Yield the lines of a slice's changes: VMs with what comes or goes with them, what is changed, and the rest."""
    vms = {change.name: change for change in changes if _comes_or_goes(change)}
    parts: dict[str, list[Change]] = {name: [] for name in vms}
    rest: dict[tuple[Action, str], Counter[str]] = {}
    for change in changes:
        vm = vms.get(change.name.partition(":")[0])
        if vm is change:
            continue
        if vm is not None and change.action is vm.action and change.subject.unit in {Unit.VM, Unit.NIC}:
            parts[vm.name].append(change)
        elif change.action in _GROUPED and not change.data_lost:
            rest.setdefault((change.action, change.reason), Counter())[change.subject.kind] += 1
        elif _only_slice_renamed(change):
            reason = f"{RENAMED} {', '.join(sorted(former_slices(change.subject)))}"
            rest.setdefault((change.action, reason), Counter())[change.subject.kind] += 1
        else:
            yield from _change(change)
    for name, vm in vms.items():
        yield from _with_parts(vm, parts[name])
    for (action, reason), kinds in rest.items():
        yield f"  {SYMBOLS[action]:>{_WIDTH}} {_listed(kinds)}  # {action}: {reason}"


def _with_parts(vm: Change, parts: Sequence[Change]) -> Iterator[str]:
    lost = any(part.data_lost for part in parts)
    first, *more = _change(vm)
    yield f"{first}; its data is lost" if lost else first
    kinds = _listed(Counter(part.subject.kind for part in parts))
    yield from (f"{line}; {kinds}" if kinds else line for line in more)


def _listed(kinds: Mapping[str, int]) -> str:
    return ", ".join(plural(count, kind) for kind, count in kinds.items())


def _change(change: Change) -> Iterator[str]:
    subject = change.subject
    place = f"on {subject.host}"
    if change.before and change.before.host != subject.host:
        place = f"from {change.before.host} to {subject.host}"
    reason = f"{change.reason}; its data is lost" if change.data_lost and change.reason != DATA_LOST else change.reason
    yield f"  {SYMBOLS[change.action]:>{_WIDTH}} {change.address} {place}  # {change.action}: {reason}"
    if change.action is Action.CREATE:
        yield f"          {essence(subject)}"
    yield from (line for item in change.attributes for line in _attribute(item))


def _attribute(item: AttributeChange) -> Iterator[str]:
    """Format the change of an attribute; of a list of structures, one line for each entry that changes."""
    note = f"  # {item.name}: {_NOTES[item.policy]}" if item.policy in _NOTES else ""
    entries = entry_changes(item.before, item.after) or {"": (item.before, item.after)}
    for where, values in entries.items():
        before, after = show_change(item.name, *values)
        yield f"          {item.name}{where} = {before} -> {after}{note}"


def _disturbance(item: Disturbance) -> str:
    return f"  {DISTURBED:>{_WIDTH}} {item.address}  # unchanged, but {item.reason}"
