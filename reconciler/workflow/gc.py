"""Deletes orphans: objects on hosts that carry our tag and are not in the state.

An orphan is never removed by the run that sees it first. A state may be restored from a copy, or two people may work at
once. The state keeps which orphans were seen, and a later run removes those that it finds again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from reconciler.apply.execution.events import ApplyReport
from reconciler.apply.observation.orphans import Orphan, Owner, Unread, free_of_use, removal_steps
from reconciler.engine import Engine
from reconciler.plan.model import Step, StepId
from reconciler.plan.results import StepResult, StepStatus
from reconciler.plan.snapshot import SHARED
from reconciler.spec.models.names import HostName, SliceKey
from reconciler.state.store import ApplyId, Lock, OrphanId, SeenOrphan, StateStore
from reconciler.state.worker import StateWorker
from reconciler.workflow.load import Inputs
from reconciler.workflow.ownership import claims, refuse_foreign_hosts, release_unused
from reconciler.workflow.refresh import ClusterDrift, drift
from reconciler.workflow.steps import OpenApply, run_steps


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
    """Which orphans may be removed: how long ago the first run saw them, and whether unclaimed ones too."""

    older_than: timedelta
    unclaimed: bool = False


@dataclass(frozen=True, slots=True)
class GcDecision:
    """An orphan, what happens to it, and when and how often it was seen before."""

    orphan: Orphan
    action: GcAction
    seen: SeenOrphan | None = None


@dataclass(frozen=True, slots=True)
class GcResult:
    """The decision on every orphan, what could not be read, and the executor's report if anything was removed."""

    decisions: tuple[GcDecision, ...]
    unread: tuple[Unread, ...]
    approved: bool
    report: ApplyReport | None = None

    @property
    def doomed(self) -> list[Orphan]:
        """The orphans to remove."""
        return [decision.orphan for decision in self.decisions if decision.action is GcAction.REMOVE]

    @property
    def ok(self) -> bool:
        """Whether every host was read, and every orphan to remove is gone."""
        return self.approved and not self.unread and (self.report is None or self.report.ok)


def decide(found: ClusterDrift, seen: Iterable[SeenOrphan], now: datetime, policy: GcPolicy) -> tuple[GcDecision, ...]:
    """Decide on every orphan; on a host that was not read completely, any of them may be in use."""
    known = {one.orphan: one for one in seen}
    blind = {one.host for one in found.unread}
    actions = {
        orphan.key: _action(orphan, known.get(orphan_id(orphan)), now, policy, blind) for orphan in found.orphans
    }
    ripe = [orphan for orphan in found.orphans if actions[orphan.key] is GcAction.REMOVE]
    free = {orphan.key for orphan in free_of_use(ripe)}
    return tuple(
        GcDecision(
            orphan,
            GcAction.IN_USE if action is GcAction.REMOVE and orphan.key not in free else action,
            known.get(orphan_id(orphan)),
        )
        for orphan, action in zip(found.orphans, actions.values(), strict=True)
    )


def _action(
    orphan: Orphan, seen: SeenOrphan | None, now: datetime, policy: GcPolicy, blind: Collection[HostName]
) -> GcAction:
    if orphan.owner is Owner.OTHER:
        return GcAction.OTHER
    if orphan.owner is Owner.UNKNOWN and not policy.unclaimed:
        return GcAction.UNCLAIMED
    if orphan.key.host in blind:
        return GcAction.UNREAD
    if seen is None:
        return GcAction.FIRST
    return GcAction.REMOVE if now - seen.first >= policy.older_than else GcAction.YOUNG


def orphan_id(orphan: Orphan) -> OrphanId:
    """Return what identifies an orphan in the state."""
    return OrphanId(orphan.key.host, orphan.key.address, orphan.fingerprint)


async def examine(engine: Engine, inputs: Inputs, *, now: datetime, policy: GcPolicy) -> GcResult:
    """Survey every host and decide on every orphan; the state is not changed.

    Raises HostOwned if a host belongs to another state, and StateBehind if this one is an older copy: then what looks
    like an orphan may be in use.
    """
    hosts = [HostName(host.name) for host in inputs.cluster.cluster.hosts()]
    if engine.origin is not None:
        await refuse_foreign_hosts(engine.store, engine.connector, hosts)
    found = await drift(inputs, engine.store, engine.connector)
    seen = await engine.worker.run(engine.store.orphans)
    return GcResult(decide(found, seen, now, policy), found.unread, approved=False)


async def prepare(engine: Engine, inputs: Inputs, *, now: datetime, policy: GcPolicy) -> GcResult:
    """Survey every host, decide on every orphan, and save in the state which orphans were seen."""
    found = await examine(engine, inputs, now=now, policy=policy)
    blind = {one.host for one in found.unread}
    read = {HostName(host.name) for host in inputs.cluster.cluster.hosts()} - blind
    seen = [orphan_id(decision.orphan) for decision in found.decisions if decision.action is not GcAction.OTHER]
    await engine.worker.run(engine.store.see_orphans, [one for one in seen if one.host in read], read)
    return found


async def perform(engine: Engine, inputs: Inputs, prepared: GcResult, *, now: datetime, policy: GcPolicy) -> GcResult:
    """Remove the orphans that were prepared for removal, after their removal was approved.

    The hosts are surveyed again under the locks of the orphans' slices and of shared resources. An orphan that an apply
    has adopted or created again meanwhile stays. Raises StateLocked if another process holds such a lock.
    """
    doomed = prepared.doomed
    if not doomed:
        return replace(prepared, approved=True)
    async with engine.locked({SHARED, *(orphan.lock for orphan in doomed)}) as locks:
        again = await examine(engine, inputs, now=now, policy=policy)
        agreed = set(map(orphan_id, doomed))
        still = [orphan for orphan in again.doomed if orphan_id(orphan) in agreed]
        report = await _remove(engine, free_of_use(still), engine.store.under(locks), locks)
    return replace(prepared, approved=True, report=report)


async def _remove(engine: Engine, orphans: Sequence[Orphan], store: StateStore, locks: tuple[Lock, ...]) -> ApplyReport:
    steps = removal_steps(orphans)
    by_place = {(orphan.key.host, orphan.key.address): orphan for orphan in reversed(orphans)}
    going = {step.id: orphan_id(by_place[step.host, step.address]) for step in steps}
    slices = {SliceKey(step.subject.slice) for step in steps if step.subject.slice is not None}
    digest = hashlib.sha256(repr(sorted(going.values())).encode()).hexdigest()
    await engine.worker.run(engine.keep_copy)
    number = await engine.worker.run(store.begin_removal, slices, engine.holder, digest)
    lineage = (await engine.worker.run(store.read, ())).lineage
    opened = OpenApply(lineage, number, store, locks)
    hosts = {step.host for step in steps}
    journal = _RemovalJournal(store, number, going, engine.worker)
    return await run_steps(
        engine,
        opened,
        steps,
        journal,
        claims=await claims(engine, opened, hosts),
        settle=partial(release_unused, engine, locks, hosts),
    )


class _RemovalJournal:
    """The executor's journal of removals: orphans have no status in the state."""

    def __init__(
        self, store: StateStore, number: ApplyId, going: Mapping[StepId, OrphanId], worker: StateWorker
    ) -> None:
        self._store = store
        self._worker = worker
        self._number = number
        self._going = going

    async def intend(self, steps: Sequence[Step]) -> None:
        await self._worker.run(self._store.intend_removal, self._number, steps)

    async def record(self, results: Sequence[StepResult]) -> None:
        gone = [self._going[result.step.id] for result in results if result.status is StepStatus.DONE]
        await self._worker.run(self._store.record_removal, self._number, results, gone)
