"""Describes a preview slice by slice, for all of its forms, and formats it as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from reconciler.plan.model import Action, Change, Disturbance
from reconciler.plan.resources import GraphRole
from reconciler.plan.resources.base import kind_in
from reconciler.plan.snapshot import SliceAllocation
from reconciler.spec.models.names import Address, SliceKey
from reconciler.spec.quoting import listed, plural
from reconciler.views.errors import problems_text
from reconciler.views.plan_text import render_text, summary

if TYPE_CHECKING:
    from reconciler.workflow.preview import Preview

_NAMED = 10
"""How many slices a line names at most."""

_NUMBERS = frozenset({"vlan", "vlans", "ip", "mac", "gateway_mac", "leases", "vnc", "namespace", "interface", "host"})
"""Attributes whose values differ from slice to slice although the change is the same."""


@dataclass(frozen=True, slots=True)
class SliceChanges:
    """What a merge does to one slice, or to what slices share (`key` is None)."""

    key: str | None
    changes: tuple[Change, ...]
    disturbed: tuple[Disturbance, ...]
    vlans_before: str = ""
    vlans_after: str = ""

    def count(self, action: Action) -> int:
        """Return how many resources an action is for."""
        return sum(change.action is action for change in self.changes)

    @property
    def restarted(self) -> tuple[str, ...]:
        """The names of the VMs that restart or are replaced."""
        vms = (change for change in self.changes if change.subject.graph_role is GraphRole.NODE)
        return tuple(change.name for change in vms if change.restarts or change.action is Action.REPLACE)

    @property
    def losing(self) -> tuple[str, ...]:
        """The names of the VMs that lose their data."""
        return tuple(sorted({change.name for change in self.changes if change.data_lost}))


def changed_slices(found: Preview) -> list[SliceChanges]:
    """Return the slices that the merge changes or disturbs, in the order of the plan."""
    if found.plan is None:
        return []
    parts: dict[str | None, tuple[list[Change], list[Disturbance]]] = {}
    for key, changes in groupby(found.plan.changes, key=lambda change: change.subject.slice):
        parts.setdefault(key, ([], []))[0].extend(changes)
    for one in found.plan.disturbed:
        parts.setdefault(one.slice, ([], []))[1].append(one)
    before, after = _pools(found.before), _pools(found.plan.allocations)
    return [
        SliceChanges(key, tuple(changes), tuple(disturbed), before.get(key or "", ""), after.get(key or "", ""))
        for key, (changes, disturbed) in parts.items()
    ]


def _pools(allocations: Mapping[SliceKey, SliceAllocation]) -> dict[str, str]:
    """Return the VLANs of each slice, as text."""
    return {key: ", ".join(map(str, had.pool)) for key, had in allocations.items()}


def alike(changed: Sequence[SliceChanges]) -> list[list[SliceChanges]]:
    """Group slices whose changes are the same but for names, numbers and hosts; the largest groups come first."""
    groups: dict[object, list[SliceChanges]] = {}
    for one in changed:
        groups.setdefault(_shape(one), []).append(one)
    return sorted(groups.values(), key=lambda group: -len(group))


def _shape(one: SliceChanges) -> object:
    """Return what the changes of slices that are alike have in common."""
    return (
        one.key is None,
        tuple(sorted(_change_shape(change, one.key) for change in one.changes)),
        tuple(sorted(_relative(each.address, one.key) for each in one.disturbed)),
    )


def _change_shape(change: Change, key: str | None) -> tuple[str, ...]:
    attributes = (
        item.name if item.name in _NUMBERS else f"{item.name}: {item.before} -> {item.after}"
        for item in change.attributes
    )
    return (change.action, _relative(change.address, key), str(change.data_lost), *sorted(attributes))


def _relative(address: Address, key: str | None) -> str:
    """Return an address without the name of its slice and of a host."""
    return f"{kind_in(address)}{address.partition('/')[2].removeprefix(key or '').partition('@')[0]}"


def headline(found: Preview) -> str:
    """Return one line that says what the merge would do."""
    if found.refused is not None:
        return f"Cannot be planned: {found.refused.summary}."
    if found.plan is None:
        return f"Cannot be planned: {plural(len(found.problems), 'problem')} in the files."
    if found.plan.empty:
        return "No changes on hosts."
    return summary(found.plan)


def notes(found: Preview) -> Iterator[str]:
    """Yield what a reviewer must know beside the changes, a line each."""
    if found.new_problems:
        yield f"{plural(len(found.new_problems), 'problem')} in the merged files."
    if found.known_problems:
        yield f"{plural(len(found.known_problems), 'problem')} that {found.base.name} has already."
    if found.held_back:
        yield f"Unchanged, because their files are not valid: {listed(found.held_back, _NAMED)}."
    if found.removed:
        gone = listed(found.removed, _NAMED)
        yield f"Without a file after the merge: {gone}. Only an apply with --prune destroys them."
    if found.pending is None:
        yield f"{found.base.name} itself cannot be planned, so this is compared with the state."
    elif not found.pending.empty:
        changes = plural(len(found.pending.changes), "change")
        yield f"{found.base.name} has {changes} that are not applied yet; they are not shown here."
    groups = alike([one for one in changed_slices(found) if one.key is not None])
    if groups and len(groups[0]) > 1:
        rest = sum(map(len, groups[1:]))
        differ = f"; {rest} {'differs' if rest == 1 else 'differ'}" if rest else ""
        yield f"{len(groups[0])} slices have the same {plural(len(groups[0][0].changes), 'change')}{differ}."
    yield from _together(found)
    if found.unchanged:
        yield f"Unchanged: {plural(len(found.unchanged), 'slice')}: {listed(found.unchanged, _NAMED)}."


def _together(found: Preview) -> Iterator[str]:
    if found.together is not None:
        if found.together.order:
            yield f"Together, in this order, these fit: {', '.join(found.together.order)}."
        for name, why in found.together.refused:
            yield f"{name} does not fit beside them: {why}."


def preview_text(found: Preview) -> str:
    """Return a preview for a terminal."""
    lines = [f"{found.head.name} into {found.base.name} ({found.head.commit[:12]} into {found.base.commit[:12]})", ""]
    if found.problems:
        lines += [problems_text(found.problems).rstrip("\n"), ""]
    if found.plan is not None and not found.plan.empty:
        lines += [render_text(found.plan).rstrip("\n"), ""]
    else:
        lines += [headline(found), ""]
    return "\n".join([*lines, *notes(found)]) + "\n"
