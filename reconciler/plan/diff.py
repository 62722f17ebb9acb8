"""Compares the desired resources with the state: which resources change, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler.errors import PlanError
from reconciler.plan.graph import natural
from reconciler.plan.model import ASKED_FOR, DATA_LOST, Action, AttributeChange, Change
from reconciler.plan.resources import KINDS, Resource, attributes, plain
from reconciler.plan.snapshot import ResourceState, Status
from reconciler.spec.models.fields import UpdatePolicy, format_size
from reconciler.spec.models.names import Address

UNFINISHED = "the last apply did not finish this"
NOT_IN_STATE = "not in the state"
HOST_LOST = "its host does not come back"
RENAMED = "renamed from"

_NEW_RESOURCE_POLICIES = frozenset({UpdatePolicy.RECREATE, UpdatePolicy.IMMUTABLE})


def diff(
    desired: Mapping[Address, Resource],
    state: Mapping[Address, ResourceState],
    *,
    destroyed: Collection[str] = (),
    replaced: Iterable[Address] = (),
    lost: Collection[Address] = (),
) -> list[Change]:
    """Return the changes from the state to what is desired: by slice, then by kind, then in the order of `desired`.

    `destroyed` are slices that the user asked to destroy. `replaced` are resources to replace although they do not
    differ. What needs a replaced resource is replaced with it. `lost` were on a host that does not come back. Raises
    PlanError if something would shrink that may only grow.
    """
    changes: dict[Address, Change] = {}
    for where, resource in desired.items():
        known = state.get(where)
        change = _make(resource, lost) if known is None else _compare(_completed(known, state), resource)
        if change is not None:
            changes[where] = _going_on(change) if change.in_place else change
    for where, known in state.items():
        if where not in desired:
            changes[where] = _delete(known, destroyed)
    forced = {where: ASKED_FOR for where in replaced if where in desired and where in state}
    _cascade(changes, desired, state, forced)
    _refuse_shrinking(changes.values(), state)
    kinds = {kind: rank for rank, kind in enumerate(KINDS)}
    positions = {where: position for position, where in enumerate(desired)}
    removed = sorted(changes.keys() - desired.keys(), key=natural)
    positions.update({where: position for position, where in enumerate(removed, start=len(positions))})

    def rank(change: Change) -> tuple[str, int, int]:
        subject = change.subject
        return subject.slice or "", kinds[subject.kind], positions[change.address]

    return sorted(changes.values(), key=rank)


def _refuse_shrinking(changes: Iterable[Change], state: Mapping[Address, ResourceState]) -> None:
    """Raise PlanError if something that may exist would become smaller, unless a new one takes its place."""
    for change in changes:
        known = state.get(change.address)
        if known is None or known.gone or change.action not in {Action.CREATE, Action.UPDATE}:
            continue
        for item in attribute_changes(known.may_exist(), change.subject):
            if item.policy is UpdatePolicy.GROW and item.after < item.before:
                had, wanted = format_size(item.before), format_size(item.after)
                raise PlanError(
                    f"{change.address} cannot shrink: its {item.name} is {had}, and would be {wanted}",
                    hint=f"disks only grow: `disk: {had}` keeps it, --replace {change.address} makes an empty one",
                )


def _make(resource: Resource, lost: Collection[Address]) -> Change:
    """Create what is not in the state, or what was on a host that does not come back, with its data."""
    if resource.address not in lost:
        return _create(resource, NOT_IN_STATE)
    return replace(_create(resource, HOST_LOST), data_lost=resource.holds_data)


def _create(resource: Resource, reason: str) -> Change:
    return Change(Action.CREATE, resource.address, None, resource, reason)


def _delete(known: ResourceState, destroyed: Collection[str]) -> Change:
    if known.status is Status.DELETING:
        reason = UNFINISHED
    elif known.resource.slice is None:
        reason = "no slice needs it any more"
    else:
        reason = ASKED_FOR if known.resource.slice in destroyed else "no longer in the file"
    lost = _holds_data(known)
    return Change(
        Action.DELETE, known.resource.address, known.may_exist(), None, reason, data_lost=lost, leftover=known.leftover
    )


def _completed(known: ResourceState, state: Mapping[Address, ResourceState]) -> ResourceState:
    """Return it with what earlier versions did not record."""

    def find(where: Address) -> Resource | None:
        return state[where].resource if where in state else None

    resource = known.resource.completed(find)
    return known if resource is known.resource else replace(known, resource=resource)


def _going_on(change: Change) -> Change:
    """Return an update in place of something that goes on with what only a new start would change."""
    return replace(change, after=change.subject.as_updated(change))


def _compare(known: ResourceState, wanted: Resource) -> Change | None:
    """Return the change of a resource. One that was renamed remembers its former addresses until the change is made."""
    if not (former := known.resource.formerly):
        return _difference(known, wanted)
    wanted = replace(wanted, formerly=former)
    change = _difference(known, wanted)
    if change is None:
        return Change(Action.UPDATE, wanted.address, known.resource, wanted, f"{RENAMED} {former[-1]}")
    if change.action is not Action.UPDATE:
        return change
    also = "" if change.reason == UNFINISHED else f", {change.reason}"
    return replace(change, reason=f"{RENAMED} {former[-1]}{also}")


def _difference(known: ResourceState, wanted: Resource) -> Change | None:
    if known.status is Status.PRESENT and known.resource == wanted:
        return _restore(known, wanted)
    found = attribute_changes(known.resource, wanted)
    if _can_move(known, wanted, found):
        reason = "moved with its data" if known.resource.host != wanted.host else UNFINISHED
        # Nothing is made again, not even where the host changes.
        found = tuple(item if item.name != "host" else replace(item, policy=UpdatePolicy.LIVE) for item in found)
        return Change(Action.UPDATE, wanted.address, known.resource, wanted, reason, found, leftover=known.leftover)
    if any(item.policy in _NEW_RESOURCE_POLICIES for item in found):
        return _replace(known, wanted, _why(found, UpdatePolicy.RECREATE), found)
    if known.status is Status.PRESENT and known.gone:
        return _restore(known, wanted)
    if known.status is Status.CREATING or (known.status is Status.DELETING and not found):
        return _create(wanted, UNFINISHED)
    reason = _why(found, UpdatePolicy.RESTART) if found else UNFINISHED
    return Change(Action.UPDATE, wanted.address, known.may_exist(), wanted, reason, found)


def _can_move(known: ResourceState, wanted: Resource, found: Sequence[AttributeChange]) -> bool:
    """Whether a resource that holds data can be copied to another host, or an unfinished copy can be completed."""
    if not wanted.holds_data or known.gone or not (known.leftover or known.resource.host != wanted.host):
        return False
    kept = {item.name for item in found if item.policy in _NEW_RESOURCE_POLICIES} <= {"host"}
    return kept and known.status in {Status.PRESENT, Status.UNKNOWN}


def _restore(known: ResourceState, wanted: Resource) -> Change | None:
    """Restore what is missing or was changed on the host. This is never more than an update."""
    if known.drift is None:
        return None
    if known.drift.gone:
        lost = _holds_data(known)
        reason = DATA_LOST if lost else f"gone from {wanted.host}"
        return Change(Action.CREATE, wanted.address, None, wanted, reason, data_lost=lost)
    found = tuple(
        AttributeChange(name, value, plain(getattr(wanted, name)), UpdatePolicy.LIVE)
        for name, value in known.drift.values.items()
    )
    reason = f"{', '.join(item.name for item in found)} changed on {wanted.host}"
    return Change(Action.UPDATE, wanted.address, known.may_exist(), wanted, reason, found)


def _replace(known: ResourceState, wanted: Resource, reason: str, found: tuple[AttributeChange, ...] = ()) -> Change:
    lost = _holds_data(known)
    return Change(
        Action.REPLACE,
        wanted.address,
        known.may_exist(),
        wanted,
        reason,
        found,
        data_lost=lost,
        leftover=known.leftover,
    )


def _holds_data(known: ResourceState) -> bool:
    """Whether a guest may have written to it. An apply that was killed may have made it, and started the VM."""
    return known.resource.holds_data


def attribute_changes(before: Resource, after: Resource) -> tuple[AttributeChange, ...]:
    """Return the attributes that differ between two resources of one kind, in the order of their declaration."""
    return tuple(
        AttributeChange(name, plain(old), plain(new), policy)
        for name, policy in attributes(after.kind).items()
        if (old := getattr(before, name)) != (new := getattr(after, name))
    )


def entry_changes(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """Return the values that differ inside two lists, before and after, by place: `[1].mac`.

    An entry that one list lacks has None there. Empty where the values are not lists of structures or of texts.
    """
    if not _listed(before) or not _listed(after):
        return {}
    from deepdiff import DeepDiff  # noqa: PLC0415 - 0.2 s to import, and most plans compare no lists that differ
    from deepdiff.helper import notpresent  # noqa: PLC0415 - likewise

    found: dict[str, tuple[Any, Any]] = {}
    for items in DeepDiff(before, after, view="tree").values():
        for item in items:
            keys = item.path(output_format="list")
            where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
            old, new = (None if side is notpresent else side for side in (item.t1, item.t2))
            found[where] = (old, new)
    return dict(sorted(found.items(), key=lambda item: natural(item[0])))


def _listed(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict | str | None) for item in value)


def _why(found: Iterable[AttributeChange], policy: UpdatePolicy) -> str:
    """Name the attributes that require the costliest policy."""
    names = [item.name for item in found]
    costly = [item.name for item in found if item.policy is policy]
    return f"{', '.join(costly or names)} changed"


def _cascade(
    changes: dict[Address, Change],
    desired: Mapping[Address, Resource],
    state: Mapping[Address, ResourceState],
    forced: Mapping[Address, str],
) -> None:
    """Replace what was asked for, and whatever needs a resource that is replaced, and so on.

    What a VM holds open (its disk, its TAPs) it cannot get back while it runs. So a VM is also replaced where one of
    these is missing.
    """
    for where, reason in forced.items():
        changes[where] = _replace(state[where], desired[where], reason)
    if not state:
        return
    waiting = [where for where, change in changes.items() if _replaces(change) or _was_held_open(change, state)]
    if not waiting:
        return
    dependents: dict[Address, list[Address]] = {}
    for resource in desired.values():
        for need in resource.needs:
            dependents.setdefault(need, []).append(resource.address)
    while waiting:
        needed = waiting.pop()
        for where in dependents.get(needed, ()):
            change = changes.get(where)
            if where not in state or state[where].gone or _replaces(change):
                continue
            reason = f"{needed} is {'replaced' if _replaces(changes[needed]) else 'created again'}"
            changes[where] = _replace(state[where], desired[where], reason, change.attributes if change else ())
            waiting.append(where)


def _replaces(change: Change | None) -> bool:
    return change is not None and change.action is Action.REPLACE


def _was_held_open(change: Change, state: Mapping[Address, ResourceState]) -> bool:
    known = state.get(change.address)
    return change.subject.held_open and known is not None and known.gone
