"""Finds orphans in surveys: which state owns each, and what depends on it.

Several states may use one host. Each leaves a fence file there with the locks that it ever held. The fence files show
whether a tagged object that is not in this state belongs to this state, to another one, or to an unknown one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from reconciler.apply.drivers.driver import Found
from reconciler.apply.observation.observe import Drivers, HostSurvey, Observation
from reconciler.apply.transport.connection import message_of
from reconciler.plan.model import Action, Change, Step, StepId
from reconciler.plan.order import order
from reconciler.plan.resources import Kind, Resource, to_data
from reconciler.plan.snapshot import SHARED
from reconciler.spec.models.names import Address, HostName


class Owner(StrEnum):
    """Which state an orphan belongs to: this one, an unknown one, or another one that may still need it."""

    OURS = "ours"
    UNKNOWN = "unknown"
    OTHER = "other"


class ObjectKey(NamedTuple):
    """What identifies an object on a host. Two objects may have the address of one resource."""

    host: HostName
    address: Address
    name: str


@dataclass(frozen=True, slots=True)
class Orphan:
    """A tagged object that is not in this state.

    `lineages` are those of the other states that ever held its lock there. `fingerprint` distinguishes it from a
    later object in the same place. `users` are the objects that depend on it, orphans or not.
    """

    key: ObjectKey
    resource: Resource
    owner: Owner
    lineages: tuple[str, ...]
    fingerprint: str
    users: tuple[ObjectKey, ...] = ()

    @property
    def lock(self) -> str:
        """The lock that is needed to remove it."""
        return self.resource.slice or SHARED


@dataclass(frozen=True, slots=True)
class Unread:
    """A host, or one kind on it, that could not be read. `message` is the reason."""

    host: HostName
    what: str
    message: str


def unread(observed: Observation) -> tuple[Unread, ...]:
    """Return what the surveys could not read."""
    found = [Unread(host, "all", message_of(error)) for host, error in observed.unreachable.items()]
    for host, survey in observed.surveys.items():
        found += [Unread(host, what, message_of(error)) for what, error in survey.unread.items()]
    return tuple(sorted(found, key=lambda one: (one.host, one.what)))


def find_orphans(
    observed: Observation, resources: Iterable[Resource], lineage: str, drivers: Drivers
) -> tuple[Orphan, ...]:
    """Return the objects in the surveys that no resource accounts for, by host and address.

    `resources` are the resources of this state in every status, with the changes of unfinished steps.
    """
    known = {key for resource in resources for key in _keys(resource, drivers)}
    return tuple(
        orphan
        for host in sorted(observed.surveys)
        for orphan in _orphans(observed.surveys[host], known, lineage, drivers)
    )


def _key(resource: Resource, drivers: Drivers) -> ObjectKey:
    survey = drivers[resource.kind].survey
    return ObjectKey(resource.host, resource.address, survey.thing(resource) if survey else "")


def _keys(resource: Resource, drivers: Drivers) -> Iterator[ObjectKey]:
    """Yield what identifies a resource's object, which may have a former address of it as its tag."""
    key = _key(resource, drivers)
    yield key
    yield from (key._replace(address=former) for former in resource.formerly)


def _orphans(survey: HostSurvey, known: Collection[ObjectKey], lineage: str, drivers: Drivers) -> Iterator[Orphan]:
    objects = {_key(found.resource, drivers): found for found in survey.found}
    users = _users({key: found.resource for key, found in objects.items()})
    for key in sorted(objects):
        if key not in known:
            owner, lineages = _owner(objects[key].resource, survey.fences, lineage)
            fingerprint = _fingerprint(objects[key])
            yield Orphan(key, objects[key].resource, owner, lineages, fingerprint, tuple(sorted(users.get(key, ()))))


def _owner(resource: Resource, fences: Mapping[str, Mapping[str, int]], lineage: str) -> tuple[Owner, tuple[str, ...]]:
    """Return which state owns an object. A state that ever held its lock may still need it, even if ours did too."""
    lock = resource.slice or SHARED
    others = tuple(sorted(name for name, locks in fences.items() if lock in locks and name != lineage))
    if others:
        return Owner.OTHER, others
    return (Owner.OURS if lock in fences.get(lineage, ()) else Owner.UNKNOWN), ()


def _fingerprint(found: Found) -> str:
    data = to_data(found.resource) | {"mark": found.mark}
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _users(resources: Mapping[ObjectKey, Resource]) -> dict[ObjectKey, set[ObjectKey]]:
    """Return which objects of one host depend on which."""
    names: dict[tuple[Kind, str | None], list[ObjectKey]] = {}
    for key, resource in resources.items():
        names.setdefault((resource.kind, resource.name_on_host), []).append(key)
        names.setdefault((resource.kind, None), []).append(key)
    users: dict[ObjectKey, set[ObjectKey]] = {}
    for key, resource in resources.items():
        for use in resource.uses():
            for found in names.get((use.kind, use.name), ()):
                users.setdefault(found, set()).add(key)
    return users


def free_of_use(orphans: Iterable[Orphan]) -> tuple[Orphan, ...]:
    """Return the orphans on which nothing depends except others that are returned too."""
    left = {orphan.key: orphan for orphan in orphans}
    while blocked := [key for key, orphan in left.items() if not left.keys() >= set(orphan.users)]:
        for key in blocked:
            del left[key]
    return tuple(left.values())


def removal_steps(orphans: Sequence[Orphan]) -> tuple[Step, ...]:
    """Return the steps that remove orphans, dependants first; at most one of each address on a host.

    A later run removes a second object with the same address on one host, because facts are identified by address.
    """
    steps: list[Step] = []
    for host in sorted({orphan.key.host for orphan in orphans}):
        first: dict[Address, Orphan] = {}
        for orphan in orphans:
            if orphan.key.host == host:
                first.setdefault(orphan.key.address, orphan)
        steps.extend(_numbered(order(_removals(first.values())), len(steps)))
    return tuple(steps)


def _removals(orphans: Collection[Orphan]) -> list[Change]:
    needs: dict[ObjectKey, list[Address]] = {}
    for orphan in orphans:
        for user in orphan.users:
            needs.setdefault(user, []).append(orphan.key.address)
    changes = []
    for orphan in orphans:
        after = tuple(
            other.key.address
            for other in orphans
            if other.resource.kind in orphan.resource.follows and other.resource.slice in {orphan.resource.slice, None}
        )
        before = replace(orphan.resource, needs=tuple(needs.get(orphan.key, ())), after=after)
        changes.append(Change(Action.DELETE, before.address, before, None, "not in the state"))
    return changes


def _numbered(steps: Iterable[Step], start: int) -> Iterator[Step]:
    for step in steps:
        needs = tuple(StepId(need + start) for need in step.needs)
        yield replace(step, id=StepId(step.id + start), needs=needs)
