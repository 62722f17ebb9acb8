"""Removes what nobody records, once it was seen twice; how it is found is the workflow's, how it goes the drivers'.

An orphan is never taken at first sight: whoever makes something writes it down first, but a record may be restored, or
two people may be at work. So what is seen is remembered, and removed by a later run that finds the same thing there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from reconciler import workflow
from reconciler.apply.events import Report
from reconciler.apply.journal import Outcome
from reconciler.apply.orphans import Orphan, Unread, Whose, free_of_use, removal_steps
from reconciler.plan.model import Step, StepId
from reconciler.plan.record import SHARED
from reconciler.spec.names import HostName, SliceKey
from reconciler.state.store import ApplyId, Ending, Holder, Lock, SeenOrphan, StateStore, Trace


class Fate(StrEnum):
    """What a run does with an orphan, or why it does nothing."""

    REMOVE = "remove"
    FIRST = "first seen"
    YOUNG = "too young"
    IN_USE = "in use"
    UNCLAIMED = "unclaimed"
    OTHER = "other record"
    UNREAD = "host not read"


@dataclass(frozen=True, slots=True)
class Terms:
    """Which orphans may go: those first seen so long ago, and if asked for, those that no record ever claimed."""

    older_than: timedelta
    unclaimed: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """An orphan, what becomes of it, and since when and how often it was seen before."""

    orphan: Orphan
    fate: Fate
    seen: SeenOrphan | None = None


@dataclass(frozen=True, slots=True)
class Swept:
    """What came of a run: a verdict on every orphan, what could not be read, and the executor's report if any."""

    verdicts: tuple[Verdict, ...]
    unread: tuple[Unread, ...]
    approved: bool
    report: Report | None = None

    @property
    def ok(self) -> bool:
        """Whether every host was read, and all that was to go is gone."""
        return self.approved and not self.unread and (self.report is None or self.report.ok)


def judge(found: workflow.Standing, seen: Iterable[SeenOrphan], now: datetime, terms: Terms) -> tuple[Verdict, ...]:
    """Decide on every orphan; on a host that was not read whole, something may stand on any of them."""
    known = {one.trace: one for one in seen}
    blind = {one.host for one in found.unread}
    fates = {orphan.spot: _fate(orphan, known.get(trace(orphan)), now, terms, blind) for orphan in found.orphans}
    ripe = [orphan for orphan in found.orphans if fates[orphan.spot] is Fate.REMOVE]
    free = {orphan.spot for orphan in free_of_use(ripe)}
    return tuple(
        Verdict(
            orphan,
            Fate.IN_USE if fate is Fate.REMOVE and orphan.spot not in free else fate,
            known.get(trace(orphan)),
        )
        for orphan, fate in zip(found.orphans, fates.values(), strict=True)
    )


def _fate(orphan: Orphan, seen: SeenOrphan | None, now: datetime, terms: Terms, blind: Collection[HostName]) -> Fate:
    if orphan.whose is Whose.OTHER:
        return Fate.OTHER
    if orphan.whose is Whose.UNKNOWN and not terms.unclaimed:
        return Fate.UNCLAIMED
    if orphan.spot.host in blind:
        return Fate.UNREAD
    if seen is None:
        return Fate.FIRST
    return Fate.REMOVE if now - seen.first >= terms.older_than else Fate.YOUNG


def trace(orphan: Orphan) -> Trace:
    """Return what is remembered of an orphan."""
    return Trace(orphan.spot.host, orphan.spot.address, orphan.fingerprint)


async def look(
    inputs: workflow.Inputs, store: StateStore, hosts: workflow.Hosts, *, now: datetime, terms: Terms
) -> Swept:
    """Say what a run would do, and remember nothing."""
    found = await workflow.drift(inputs, store, hosts.connector)
    return Swept(judge(found, store.orphans(), now, terms), found.unread, approved=True)


async def sweep(  # noqa: PLR0913 - the edges of the world, each given by name
    inputs: workflow.Inputs,
    store: StateStore,
    hosts: workflow.Hosts,
    *,
    holder: Holder,
    now: datetime,
    terms: Terms,
    approve: Callable[[Swept], bool],
) -> Swept:
    """Look at every host, remember the orphans there, and remove those that were seen long enough ago, if approved.

    They are looked at once more under the locks of their slices and of what slices share: what an apply has taken up or
    made anew meanwhile stays. Raises StateLocked where somebody holds such a lock.
    """
    judged = await look(inputs, store, hosts, now=now, terms=terms)
    blind = {one.host for one in judged.unread}
    read = {HostName(host.name) for host in inputs.cluster.cluster.hosts()} - blind
    traces = [trace(verdict.orphan) for verdict in judged.verdicts if verdict.fate is not Fate.OTHER]
    store.see_orphans([one for one in traces if one.host in read], read)
    doomed = [verdict.orphan for verdict in judged.verdicts if verdict.fate is Fate.REMOVE]
    if not doomed:
        return judged
    if not approve(judged):
        return Swept(judged.verdicts, judged.unread, approved=False)
    names = {SHARED, *(orphan.lock for orphan in doomed)}
    async with workflow.locked(store, names, holder, hosts, hosts.lock_timeout) as locks:
        again = await look(inputs, store, hosts, now=now, terms=terms)
        agreed = set(map(trace, doomed))
        still = [one.orphan for one in again.verdicts if one.fate is Fate.REMOVE and trace(one.orphan) in agreed]
        report = await _remove(free_of_use(still), store.under(locks), locks, hosts, holder)
    return Swept(judged.verdicts, judged.unread, approved=True, report=report)


async def _remove(
    orphans: Sequence[Orphan], store: StateStore, locks: tuple[Lock, ...], hosts: workflow.Hosts, holder: Holder
) -> Report:
    steps = removal_steps(orphans)
    by_place = {(orphan.spot.host, orphan.spot.address): orphan for orphan in reversed(orphans)}
    going = {step.id: trace(by_place[step.host, step.address]) for step in steps}
    slices = {SliceKey(step.subject.slice) for step in steps if step.subject.slice is not None}
    digest = hashlib.sha256(repr(sorted(going.values())).encode()).hexdigest()
    number = store.begin_removal(slices, holder, digest)
    opened = workflow.Opened(store.read(()).lineage, number, store, locks)
    return await workflow.perform(opened, steps, hosts, _RemovalJournal(store, number, going))


class _RemovalJournal:
    """The executor's journal of removals: orphans are in no record that could say how they stand."""

    def __init__(self, store: StateStore, number: ApplyId, going: Mapping[StepId, Trace]) -> None:
        self._store = store
        self._number = number
        self._going = going

    def intend(self, steps: Sequence[Step]) -> None:
        self._store.intend_removal(self._number, steps)

    def record(self, outcomes: Sequence[tuple[Step, Outcome, str]]) -> None:
        endings = [Ending(step, None, outcome, words) for step, outcome, words in outcomes]
        gone = [self._going[step.id] for step, outcome, _ in outcomes if outcome is Outcome.DONE]
        self._store.record_removal(self._number, endings, gone)
