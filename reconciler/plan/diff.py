"""Desired against recorded: which resources change, each with its reason; order and steps are order.py's.

Resources are told apart by address and compared with `==`; deepdiff looks only into those that differ, since on the
whole state it costs a hundred times as much.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from reconciler.plan.graph import natural
from reconciler.plan.model import DATA_LOST, Action, AttributeChange, Change
from reconciler.plan.resources import NOUNS, Disk, Port, Resource, attributes, to_data
from reconciler.plan.snapshot import ResourceState, Status
from reconciler.spec.models.fields import UpdatePolicy
from reconciler.spec.models.names import Address

UNFINISHED = "the last apply did not finish this"
NOT_RECORDED = "not recorded"
_RANK = {noun.kind: rank for rank, noun in enumerate(NOUNS)}


def diff(
    desired: Mapping[Address, Resource],
    recorded: Mapping[Address, ResourceState],
    *,
    destroyed: Collection[str] = (),
    replaced: Iterable[Address] = (),
) -> list[Change]:
    """Return the changes that lead from what is recorded to what is desired: by slice, then kind, then as desired is.

    `destroyed` are slices that were asked to go; `replaced` are resources to replace though nothing about them differs.
    What needs a replaced resource is replaced with it.
    """
    changes: dict[Address, Change] = {}
    for where, resource in desired.items():
        known = recorded.get(where)
        change = _create(resource, NOT_RECORDED) if known is None else _compare(known, resource)
        if change is not None:
            changes[where] = change
    for where, known in recorded.items():
        if where not in desired:
            changes[where] = _delete(known, destroyed)
    forced = {where: "asked for" for where in replaced if where in desired and where in recorded}
    _cascade(changes, desired, recorded, forced)
    places = {
        where: place for place, where in enumerate((*desired, *sorted(changes.keys() - desired.keys(), key=natural)))
    }

    def rank(change: Change) -> tuple[str, int, int]:
        subject = change.subject
        return subject.slice or "", _RANK[subject.kind], places[change.address]

    return sorted(changes.values(), key=rank)


def _create(resource: Resource, reason: str) -> Change:
    return Change(Action.CREATE, resource.address, None, resource, reason)


def _delete(known: ResourceState, destroyed: Collection[str]) -> Change:
    if known.status is Status.DELETING:
        reason = UNFINISHED
    elif known.resource.slice is None:
        reason = "no slice needs it any more"
    else:
        reason = "asked for" if known.resource.slice in destroyed else "no longer in the file"
    return Change(Action.DELETE, known.resource.address, known.may_stand(), None, reason)


def _compare(known: ResourceState, wanted: Resource) -> Change | None:
    if known.status is Status.PRESENT and known.resource == wanted:
        return _restore(known, wanted)
    found = attribute_changes(known.resource, wanted)
    if any(item.policy in {UpdatePolicy.RECREATE, UpdatePolicy.IMMUTABLE} for item in found):
        return _replace(known, wanted, _why(found, UpdatePolicy.RECREATE), found)
    if known.status is Status.PRESENT and known.drift and known.drift.gone:
        return _restore(known, wanted)
    if known.status is Status.CREATING or (known.status is Status.DELETING and not found):
        return _create(wanted, UNFINISHED)
    reason = _why(found, UpdatePolicy.RESTART) if found else UNFINISHED
    return Change(Action.UPDATE, wanted.address, known.may_stand(), wanted, reason, found)


def _restore(known: ResourceState, wanted: Resource) -> Change | None:
    """Bring back what was seen to be gone or changed; never more than an update, whatever was changed by hand."""
    if known.drift is None:
        return None
    if known.drift.gone:
        return _create(wanted, DATA_LOST if wanted.kind == Disk.kind else f"gone from {wanted.host}")
    data = to_data(wanted)
    found = tuple(
        AttributeChange(name, value, data[name], UpdatePolicy.LIVE) for name, value in known.drift.values.items()
    )
    reason = f"{', '.join(item.name for item in found)} changed on {wanted.host}"
    return Change(Action.UPDATE, wanted.address, known.may_stand(), wanted, reason, found)


def _replace(known: ResourceState, wanted: Resource, reason: str, found: tuple[AttributeChange, ...] = ()) -> Change:
    return Change(Action.REPLACE, wanted.address, known.may_stand(), wanted, reason, found)


def attribute_changes(before: Resource, after: Resource) -> tuple[AttributeChange, ...]:
    """Return the attributes that differ between two resources of one kind, in the order of their declaration."""
    policies = attributes(after.kind)
    old = {name: value for name, value in to_data(before).items() if name in policies}
    new = {name: value for name, value in to_data(after).items() if name in policies}
    if old == new:
        return ()
    from deepdiff import DeepDiff  # noqa: PLC0415 - 0.2 s to import, and most plans compare nothing that differs

    differing = DeepDiff(old, new).affected_root_keys
    return tuple(
        AttributeChange(name, old[name], new[name], policy) for name, policy in policies.items() if name in differing
    )


def _why(found: Iterable[AttributeChange], policy: UpdatePolicy) -> str:
    """Name the attributes that make a change as costly as it is."""
    names = [item.name for item in found]
    costly = [item.name for item in found if item.policy is policy]
    return f"{', '.join(costly or names)} changed"


def _cascade(
    changes: dict[Address, Change],
    desired: Mapping[Address, Resource],
    recorded: Mapping[Address, ResourceState],
    forced: Mapping[Address, str],
) -> None:
    """Replace what was asked for, and whatever needs a resource that is replaced, and so on.

    A VM holds its disk and its TAPs open, so it is started anew as well where one of them was gone.
    """
    for where, reason in forced.items():
        changes[where] = _replace(recorded[where], desired[where], reason)
    waiting = [where for where, change in changes.items() if _replaces(change) or _was_held_open(change, recorded)]
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
            if where not in recorded or _is_gone(recorded[where]) or _replaces(change):
                continue
            reason = f"{needed} is {'replaced' if _replaces(changes[needed]) else 'made anew'}"
            changes[where] = _replace(recorded[where], desired[where], reason, change.attributes if change else ())
            waiting.append(where)


def _replaces(change: Change | None) -> bool:
    return change is not None and change.action is Action.REPLACE


def _was_held_open(change: Change, recorded: Mapping[Address, ResourceState]) -> bool:
    known = recorded.get(change.address)
    return change.subject.kind in {Disk.kind, Port.kind} and known is not None and _is_gone(known)


def _is_gone(known: ResourceState) -> bool:
    return known.drift is not None and known.drift.gone
