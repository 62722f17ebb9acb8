"""Decides what a lost or outdated state is rebuilt from: copies that hosts keep, and what was found on the hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import NamedTuple

from reconciler.apply.observation.drift import DriftKind, find_drift
from reconciler.apply.observation.observe import Observation
from reconciler.apply.observation.owners import HostRecords
from reconciler.plan.graph import natural
from reconciler.plan.renames import former_slices
from reconciler.plan.resources import Resource, from_data, to_data
from reconciler.plan.snapshot import Claim, Status, allocation_data, allocation_from_data, claims
from reconciler.spec.models.names import Address, HostName, SliceKey
from reconciler.state.export import Export, ExportedApply, ExportedCounters, ExportedResource, ExportedSlice
from reconciler.state.hostcopy import StateCopy, decode_copy
from reconciler.state.store import Holder, Verb
from reconciler.workflow.planning import DONE


@dataclass(frozen=True, slots=True)
class Copies:
    """What hosts keep: the newest copy of each slice and of what slices share (None), and what cannot be read.

    `lineage` is that of the state to be rebuilt, and `others` are those of other states whose copies are used too.
    `apply` and `token` are the latest that hosts have seen of `lineage`. `damaged` names copies that cannot be decoded.
    """

    lineage: str
    others: tuple[str, ...]
    apply: int
    token: int
    newest: Mapping[SliceKey | None, StateCopy]
    damaged: tuple[str, ...]


def choose_copies(records: Mapping[HostName, HostRecords], base: Export) -> Copies:
    """Choose the newest copy of each slice that tells more than the state has. A state that is not empty is continued.

    Without one, the state is continued that most hosts belong to.
    """
    found: list[StateCopy] = []
    damaged: list[str] = []
    for host, record in sorted(records.items()):
        for name, text in record.copies:
            try:
                found.append(decode_copy(text))
            except ValueError:
                damaged.append(f"{name} on {host}")
    lineage = base.lineage if base.serial else _usual_lineage(records, found) or base.lineage
    fences = [record.fences.get(lineage, {}) for record in records.values()]
    owners = [record.owner for record in records.values() if record.owner is not None]
    newest: dict[SliceKey | None, StateCopy] = {}
    for copy in found:
        known = copy.lineage == base.lineage and copy.apply <= base.counters.applies
        if not known and _rank(copy, lineage) > _rank(newest.get(copy.slice), lineage):
            newest[copy.slice] = copy
    for former in _renamed(newest.values(), lineage):
        newest.pop(former, None)
    return Copies(
        lineage=lineage,
        others=tuple(sorted({owner.lineage for owner in owners} - {lineage})),
        apply=max([owner.apply for owner in owners if owner.lineage == lineage], default=0),
        token=max([token for tokens in fences for token in tokens.values()], default=0),
        newest=newest,
        damaged=tuple(damaged),
    )


def _renamed(copies: Collection[StateCopy], lineage: str) -> set[SliceKey]:
    """Return the slices whose copies are from before a rename, as a later copy says."""
    later: dict[SliceKey, StateCopy] = {}
    for copy in sorted(copies, key=lambda each: _rank(each, lineage)):
        later |= {key: copy for resource in copy.resources for key in former_slices(resource)}
    return {
        copy.slice
        for copy in copies
        if copy.slice in later and _rank(copy, lineage) < _rank(later[copy.slice], lineage)
    }


def _usual_lineage(records: Mapping[HostName, HostRecords], copies: Sequence[StateCopy]) -> str | None:
    owners = Counter(record.owner.lineage for record in records.values() if record.owner is not None)
    counted = owners or Counter(copy.lineage for copy in copies)
    return max(sorted(counted), key=lambda lineage: counted[lineage], default=None)


def _rank(copy: StateCopy | None, lineage: str) -> tuple[bool, int, bool, str]:
    return (False, -1, False, "") if copy is None else (copy.lineage == lineage, copy.apply, copy.settled, copy.saved)


class Candidate(NamedTuple):
    """A resource that may exist. `entry` is what the state has of it, None if a copy that is newer has it.

    `former` is how it was before the apply of the copy. `leaving` says that this apply was to delete it.
    """

    resource: Resource
    former: Resource | None = None
    leaving: bool = False
    entry: ExportedResource | None = None


def candidates(copies: Copies, base: Export) -> list[Candidate]:
    """Return each resource that the state or a copy has, once by its address; a copy precedes the state."""
    found: dict[Address, Candidate] = {}
    for copy in copies.newest.values():
        former = {each.address: each for each in copy.former}
        for resource in copy.resources:
            found[resource.address] = Candidate(resource, former.pop(resource.address, None))
        for address, resource in former.items():
            found[address] = Candidate(resource, leaving=True)
    for entry in base.resources:
        resource = from_data(entry.resource)
        if resource.slice is None or resource.slice not in copies.newest:
            found.setdefault(resource.address, Candidate(resource, entry=entry))
    return [found[address] for address in sorted(found)]


@dataclass(frozen=True, slots=True)
class RecoveredSlice:
    """A slice of the rebuilt state: how many of its resources were found, which are missing, and how many are unknown.

    `unknown` are on hosts that could not be read. `copied` says that it comes from the hosts, not from the old state.
    `saved` is when that copy was made: ISO 8601, UTC.
    """

    slice: SliceKey
    found: int
    missing: tuple[Address, ...]
    unknown: int
    copied: bool
    saved: str | None = None


@dataclass(frozen=True, slots=True)
class Recovery:
    """A rebuilt state, and what is to be said about it.

    `gone` are slices of which nothing exists any more. `clashing` are slices of other states that have numbers of a
    slice that is recovered. `owned` are the hosts that the state takes over from others.
    """

    export: Export
    slices: tuple[RecoveredSlice, ...]
    gone: tuple[SliceKey, ...]
    clashing: tuple[SliceKey, ...]
    damaged: tuple[str, ...]
    others: tuple[str, ...]
    changed: bool
    orphans: int = 0
    unread: Mapping[HostName, str] = field(default_factory=dict)


class _Seen(NamedTuple):
    """A candidate after the hosts were read: what the state is to have of it, None if it is gone."""

    candidate: Candidate
    kind: DriftKind | None
    entry: ExportedResource | None


def recover(  # noqa: PLR0913 - what was read, each by name
    base: Export,
    copies: Copies,
    found: Sequence[Candidate],
    observed: Observation,
    formerly: Observation,
    *,
    holder: Holder,
    now: datetime,
) -> Recovery:
    """Build the state from the copies as far as the hosts have what these say.

    `formerly` is what was read of resources that an unfinished apply was to change, as they were before.
    """
    behind = bool(copies.newest) or copies.apply > base.counters.applies
    seen = [_seen(candidate, observed, formerly, behind=behind) for candidate in found]
    by_slice: dict[SliceKey | None, list[_Seen]] = {}
    for each in seen:
        key = each.candidate.resource.slice
        by_slice.setdefault(None if key is None else SliceKey(key), []).append(each)
    kept = {key: group for key, group in by_slice.items() if key is None or not behind or _exists(group)}
    slices, clashing = _slices(base, copies, kept)
    resources = [
        each.entry for key, group in kept.items() if key not in clashing for each in group if each.entry is not None
    ]
    export = _export(base, copies, slices, resources, holder, now)
    return Recovery(
        export=export,
        slices=tuple(_recovered(key, kept.get(key, ()), copies) for key in _keys(slices)),
        gone=tuple(sorted((key for key in by_slice.keys() - kept.keys() if key is not None), key=natural)),
        clashing=clashing,
        damaged=copies.damaged,
        others=copies.others,
        changed=behind or bool(copies.others),
    )


def _keys(slices: Iterable[ExportedSlice]) -> list[SliceKey]:
    return sorted((SliceKey(entry.key) for entry in slices), key=natural)


def _seen(candidate: Candidate, observed: Observation, formerly: Observation, *, behind: bool) -> _Seen:
    resource = candidate.resource
    kind = next((drift.kind for drift in find_drift([resource], observed)), None)
    former = candidate.former
    if candidate.entry is not None and not (behind and kind is DriftKind.MISSING):
        return _Seen(candidate, kind, candidate.entry)
    if kind in {DriftKind.MISSING, DriftKind.CHANGED} and former is not None and not find_drift([former], formerly):
        return _Seen(candidate, None, _present(former))
    if kind is DriftKind.MISSING:
        return _Seen(candidate, kind, None)
    return _Seen(candidate, kind, _present(resource))


def _present(resource: Resource) -> ExportedResource:
    return ExportedResource(status=Status.PRESENT, due=False, resource=to_data(resource), pending=None)


def _exists(group: Iterable[_Seen]) -> bool:
    return any(each.kind is not DriftKind.MISSING for each in group)


def _slices(
    base: Export, copies: Copies, kept: Mapping[SliceKey | None, Sequence[_Seen]]
) -> tuple[list[ExportedSlice], tuple[SliceKey, ...]]:
    """Return the slices with their numbers, without those that have a number of another one: the later copy stays."""
    known = {SliceKey(entry.key): entry for entry in base.slices}
    written = {key: _slice(key, copy) for key, copy in copies.newest.items() if key is not None and key in kept}
    ranked = sorted(
        (known | written).items(), key=lambda item: _rank(copies.newest.get(item[0]), copies.lineage), reverse=True
    )
    taken: set[Claim] = set()
    slices: list[ExportedSlice] = []
    clashing: list[SliceKey] = []
    for key, entry in ranked:
        if key not in kept and copies.newest:
            continue
        numbers = _numbers(key, entry)
        if taken.isdisjoint(numbers):
            taken |= numbers
            slices.append(entry)
        else:
            clashing.append(key)
    return slices, tuple(clashing)


def _numbers(key: SliceKey, entry: ExportedSlice) -> set[Claim]:
    given = () if entry.allocation is None else claims(key, allocation_from_data(entry.allocation))
    return {*given, *entry.held}


def _slice(key: SliceKey, copy: StateCopy) -> ExportedSlice:
    allocation = None if copy.allocation is None else allocation_data(copy.allocation)
    return ExportedSlice(key=key, moved=0, leaving=copy.allocation is None, allocation=allocation, held=())


def _recovered(key: SliceKey, group: Iterable[_Seen], copies: Copies) -> RecoveredSlice:
    copy = copies.newest.get(key)
    group = list(group)
    missing = [
        each.candidate.resource.address
        for each in group
        if each.kind is DriftKind.MISSING and not each.candidate.leaving
    ]
    unknown = sum(each.kind is DriftKind.UNREACHABLE for each in group)
    return RecoveredSlice(
        slice=key,
        found=sum(each.kind in {None, DriftKind.CHANGED} for each in group),
        missing=tuple(sorted(missing, key=natural)),
        unknown=unknown,
        copied=copy is not None,
        saved=None if copy is None else copy.saved,
    )


def _export(
    base: Export,
    copies: Copies,
    slices: Sequence[ExportedSlice],
    resources: Iterable[ExportedResource],
    holder: Holder,
    now: datetime,
) -> Export:
    serial = max([base.serial, *(copy.serial for copy in copies.newest.values())]) + 1
    number = max(base.counters.applies, copies.apply) + 1
    keys = tuple(_keys(slices))
    rebuilt = ExportedApply(
        id=number,
        slices=keys,
        user=holder.user,
        host=holder.host,
        pid=holder.pid,
        started=now,
        finished=now,
        result=DONE,
        digest="",
        done=0,
        failed=0,
        skipped=0,
        verb=Verb.REBUILD,
        journal=(),
    )
    return base.model_copy(
        update={
            "lineage": copies.lineage,
            "serial": serial,
            "shared_moved": serial,
            "given_moved": serial,
            "counters": _counters(base, copies, number),
            "slices": tuple(
                entry.model_copy(update={"moved": serial}) for entry in sorted(slices, key=lambda one: one.key)
            ),
            "resources": tuple(sorted(resources, key=lambda entry: str(entry.resource["address"]))),
            "history": (*base.history, rebuilt),
        }
    )


def _counters(base: Export, copies: Copies, number: int) -> ExportedCounters:
    """Return counters above everything that was given out, as far as any copy tells."""
    given = [base.counters.model_dump(), *(asdict(copy.counters) for copy in copies.newest.values())]
    grown = {name: max(each[name] for each in given) for name in ("slice_id", "vm_id", "link_id", "turn")}
    return ExportedCounters(**grown, applies=number, token=max(base.counters.token, copies.token))
