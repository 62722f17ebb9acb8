"""What stands on hosts though nobody records it: whose each such thing is, and what stands on it; pure.

Several records may use one host. Each leaves a fence there with the locks it ever held, and that is how a thing without
a record is told to be ours, another record's, or nobody's that we know of.
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


class Whose(StrEnum):
    """Which record an orphan is of: this one, one that we do not know, or another that may still need it."""

    OURS = "ours"
    UNKNOWN = "unknown"
    OTHER = "other"


class Spot(NamedTuple):
    """What one thing on a host is told by: two things may bear the address of one resource."""

    host: HostName
    address: Address
    thing: str


@dataclass(frozen=True, slots=True)
class Orphan:
    """A thing with our tag that this record knows nothing of.

    `records` are the lineages of the other records that ever held its lock there. `fingerprint` tells it from a later
    thing on the same spot. `users` are the things that stand on it, orphans or not.
    """

    spot: Spot
    resource: Resource
    whose: Whose
    records: tuple[str, ...]
    fingerprint: str
    users: tuple[Spot, ...] = ()

    @property
    def lock(self) -> str:
        """The lock under which it may be removed."""
        return self.resource.slice or SHARED


@dataclass(frozen=True, slots=True)
class Unread:
    """A host, or one kind of thing on it, of which nothing is known; `words` say why."""

    host: HostName
    what: str
    words: str


def unread(observed: Observation) -> tuple[Unread, ...]:
    """Return what the surveys could not read."""
    found = [Unread(host, "all", message_of(error)) for host, error in observed.unreachable.items()]
    for host, survey in observed.surveys.items():
        found += [Unread(host, what, message_of(error)) for what, error in survey.unread.items()]
    return tuple(sorted(found, key=lambda one: (one.host, one.what)))


def find_orphans(
    observed: Observation, recorded: Iterable[Resource], lineage: str, drivers: Drivers
) -> tuple[Orphan, ...]:
    """Return what the surveys found and no resource accounts for, by host and address.

    `recorded` are the resources of this record in every state, with what unfinished steps were to make of them.
    """
    known = {_spot(resource, drivers) for resource in recorded}
    return tuple(
        orphan
        for host in sorted(observed.surveys)
        for orphan in _orphans(observed.surveys[host], known, lineage, drivers)
    )


def _spot(resource: Resource, drivers: Drivers) -> Spot:
    survey = drivers[resource.kind].survey
    return Spot(resource.host, resource.address, survey.thing(resource) if survey else "")


def _orphans(survey: HostSurvey, known: Collection[Spot], lineage: str, drivers: Drivers) -> Iterator[Orphan]:
    spots = {_spot(found.resource, drivers): found for found in survey.found}
    users = _users({spot: found.resource for spot, found in spots.items()})
    for spot in sorted(spots):
        if spot not in known:
            whose, records = _whose(spots[spot].resource, survey.fences, lineage)
            print_ = _fingerprint(spots[spot])
            yield Orphan(spot, spots[spot].resource, whose, records, print_, tuple(sorted(users.get(spot, ()))))


def _whose(resource: Resource, fences: Mapping[str, frozenset[str]], lineage: str) -> tuple[Whose, tuple[str, ...]]:
    """Tell whose a thing is; what another record ever held it may still need, whatever we once did under that name."""
    lock = resource.slice or SHARED
    others = tuple(sorted(name for name, locks in fences.items() if lock in locks and name != lineage))
    if others:
        return Whose.OTHER, others
    return (Whose.OURS if lock in fences.get(lineage, ()) else Whose.UNKNOWN), ()


def _fingerprint(found: Found) -> str:
    data = to_data(found.resource) | {"mark": found.mark}
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _users(things: Mapping[Spot, Resource]) -> dict[Spot, set[Spot]]:
    """Return what stands on what, on one host."""
    names: dict[tuple[Kind, str | None], list[Spot]] = {}
    for spot, resource in things.items():
        names.setdefault((resource.kind, resource.name_on_host), []).append(spot)
        names.setdefault((resource.kind, None), []).append(spot)
    users: dict[Spot, set[Spot]] = {}
    for spot, resource in things.items():
        for use in resource.uses():
            for found in names.get((use.kind, use.name), ()):
                users.setdefault(found, set()).add(spot)
    return users


def free_of_use(orphans: Iterable[Orphan]) -> tuple[Orphan, ...]:
    """Return those orphans on which nothing stands but others that are returned as well."""
    left = {orphan.spot: orphan for orphan in orphans}
    while blocked := [spot for spot, orphan in left.items() if not left.keys() >= set(orphan.users)]:
        for spot in blocked:
            del left[spot]
    return tuple(left.values())


def removal_steps(orphans: Sequence[Orphan]) -> tuple[Step, ...]:
    """Return the steps that remove orphans, what stands on others first; at most one of each address on a host.

    A second thing with one address on one host is another run's: facts are told apart by their addresses.
    """
    steps: list[Step] = []
    for host in sorted({orphan.spot.host for orphan in orphans}):
        first: dict[Address, Orphan] = {}
        for orphan in orphans:
            if orphan.spot.host == host:
                first.setdefault(orphan.spot.address, orphan)
        steps.extend(_numbered(order(_removals(first.values())), len(steps)))
    return tuple(steps)


def _removals(orphans: Collection[Orphan]) -> list[Change]:
    needs: dict[Spot, list[Address]] = {}
    for orphan in orphans:
        for user in orphan.users:
            needs.setdefault(user, []).append(orphan.spot.address)
    changes = []
    for orphan in orphans:
        after = tuple(
            other.spot.address
            for other in orphans
            if other.resource.kind in orphan.resource.follows and other.resource.slice in {orphan.resource.slice, None}
        )
        before = replace(orphan.resource, needs=tuple(needs.get(orphan.spot, ())), after=after)
        changes.append(Change(Action.DELETE, before.address, before, None, "nobody records it"))
    return changes


def _numbered(steps: Iterable[Step], start: int) -> Iterator[Step]:
    for step in steps:
        needs = tuple(StepId(need + start) for need in step.needs)
        yield replace(step, id=StepId(step.id + start), needs=needs)
