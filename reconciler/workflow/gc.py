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

from reconciler.apply.execution.events import ApplyReport
from reconciler.apply.execution.journal import StepStatus
from reconciler.apply.observation.orphans import Orphan, Unread, Whose, free_of_use, removal_steps
from reconciler.plan.model import Step, StepId
from reconciler.plan.snapshot import SHARED
from reconciler.spec.models.names import HostName, SliceKey
from reconciler.state.store import ApplyId, Holder, Lock, OrphanId, SeenOrphan, StateStore, StepResult
from reconciler.workflow.applying import Hosts, Opened, locked, perform
from reconciler.workflow.load import Inputs
from reconciler.workflow.refresh import ClusterDrift, drift


class GcAction(StrEnum):
    """What a run does with an orphan, or why it does nothing."""

    REMOVE = "remove"
    FIRST = "first seen"
    YOUNG = "too young"
    IN_USE = "in use"
    UNCLAIMED = "unclaimed"
    OTHER = "other record"
    UNREAD = "host not read"


@dataclass(frozen=True, slots=True)
class GcPolicy:
    """Which orphans may go: those first seen so long ago, and if asked for, those that no record ever claimed."""

    older_than: timedelta
    unclaimed: bool = False


@dataclass(frozen=True, slots=True)
class GcDecision:
    """An orphan, what becomes of it, and since when and how often it was seen before."""

    orphan: Orphan
    action: GcAction
    seen: SeenOrphan | None = None


@dataclass(frozen=True, slots=True)
class GcResult:
    """What came of a run: a verdict on every orphan, what could not be read, and the executor's report if any."""

    decisions: tuple[GcDecision, ...]
    unread: tuple[Unread, ...]
    approved: bool
    report: ApplyReport | None = None

    @property
    def ok(self) -> bool:
        """Whether every host was read, and all that was to go is gone."""
        return self.approved and not self.unread and (self.report is None or self.report.ok)


def decide(found: ClusterDrift, seen: Iterable[SeenOrphan], now: datetime, policy: GcPolicy) -> tuple[GcDecision, ...]:
    """Decide on every orphan; on a host that was not read whole, something may stand on any of them."""
    known = {one.orphan: one for one in seen}
    blind = {one.host for one in found.unread}
    actions = {orphan.spot: _action(orphan, known.get(trace(orphan)), now, policy, blind) for orphan in found.orphans}
    ripe = [orphan for orphan in found.orphans if actions[orphan.spot] is GcAction.REMOVE]
    free = {orphan.spot for orphan in free_of_use(ripe)}
    return tuple(
        GcDecision(
            orphan,
            GcAction.IN_USE if action is GcAction.REMOVE and orphan.spot not in free else action,
            known.get(trace(orphan)),
        )
        for orphan, action in zip(found.orphans, actions.values(), strict=True)
    )


def _action(
    orphan: Orphan, seen: SeenOrphan | None, now: datetime, policy: GcPolicy, blind: Collection[HostName]
) -> GcAction:
    if orphan.whose is Whose.OTHER:
        return GcAction.OTHER
    if orphan.whose is Whose.UNKNOWN and not policy.unclaimed:
        return GcAction.UNCLAIMED
    if orphan.spot.host in blind:
        return GcAction.UNREAD
    if seen is None:
        return GcAction.FIRST
    return GcAction.REMOVE if now - seen.first >= policy.older_than else GcAction.YOUNG


def trace(orphan: Orphan) -> OrphanId:
    """Return what is remembered of an orphan."""
    return OrphanId(orphan.spot.host, orphan.spot.address, orphan.fingerprint)


async def look(inputs: Inputs, store: StateStore, hosts: Hosts, *, now: datetime, policy: GcPolicy) -> GcResult:
    """Say what a run would do, and remember nothing."""
    found = await drift(inputs, store, hosts.connector)
    return GcResult(decide(found, store.orphans(), now, policy), found.unread, approved=True)


async def collect(  # noqa: PLR0913 - the edges of the world, each given by name
    inputs: Inputs,
    store: StateStore,
    hosts: Hosts,
    *,
    holder: Holder,
    now: datetime,
    policy: GcPolicy,
    approve: Callable[[GcResult], bool],
) -> GcResult:
    """Look at every host, remember the orphans there, and remove those that were seen long enough ago, if approved.

    They are looked at once more under the locks of their slices and of what slices share: what an apply has taken up or
    made anew meanwhile stays. Raises StateLocked where somebody holds such a lock.
    """
    judged = await look(inputs, store, hosts, now=now, policy=policy)
    blind = {one.host for one in judged.unread}
    read = {HostName(host.name) for host in inputs.cluster.cluster.hosts()} - blind
    traces = [trace(decision.orphan) for decision in judged.decisions if decision.action is not GcAction.OTHER]
    store.see_orphans([one for one in traces if one.host in read], read)
    doomed = [decision.orphan for decision in judged.decisions if decision.action is GcAction.REMOVE]
    if not doomed:
        return judged
    if not approve(judged):
        return GcResult(judged.decisions, judged.unread, approved=False)
    names = {SHARED, *(orphan.lock for orphan in doomed)}
    async with locked(store, names, holder, hosts, hosts.lock_timeout) as locks:
        again = await look(inputs, store, hosts, now=now, policy=policy)
        agreed = set(map(trace, doomed))
        still = [one.orphan for one in again.decisions if one.action is GcAction.REMOVE and trace(one.orphan) in agreed]
        report = await _remove(free_of_use(still), store.under(locks), locks, hosts, holder)
    return GcResult(judged.decisions, judged.unread, approved=True, report=report)


async def _remove(
    orphans: Sequence[Orphan], store: StateStore, locks: tuple[Lock, ...], hosts: Hosts, holder: Holder
) -> ApplyReport:
    steps = removal_steps(orphans)
    by_place = {(orphan.spot.host, orphan.spot.address): orphan for orphan in reversed(orphans)}
    going = {step.id: trace(by_place[step.host, step.address]) for step in steps}
    slices = {SliceKey(step.subject.slice) for step in steps if step.subject.slice is not None}
    digest = hashlib.sha256(repr(sorted(going.values())).encode()).hexdigest()
    number = store.begin_removal(slices, holder, digest)
    opened = Opened(store.read(()).lineage, number, store, locks)
    return await perform(opened, steps, hosts, _RemovalJournal(store, number, going))


class _RemovalJournal:
    """The executor's journal of removals: orphans are in no record that could say how they stand."""

    def __init__(self, store: StateStore, number: ApplyId, going: Mapping[StepId, OrphanId]) -> None:
        self._store = store
        self._number = number
        self._going = going

    def intend(self, steps: Sequence[Step]) -> None:
        self._store.intend_removal(self._number, steps)

    def record(self, outcomes: Sequence[tuple[Step, StepStatus, str]]) -> None:
        results = [StepResult(step, None, outcome, words) for step, outcome, words in outcomes]
        gone = [self._going[step.id] for step, outcome, _ in outcomes if outcome is StepStatus.DONE]
        self._store.record_removal(self._number, results, gone)
