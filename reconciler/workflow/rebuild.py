"""Rebuilds a state that was lost, or continues an older copy of one, from what hosts keep and have."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from reconciler.apply.drivers.driver import SurveyTarget
from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.observation.observe import Observation, observe
from reconciler.apply.observation.orphans import find_orphans
from reconciler.apply.observation.owners import HostRecords, read_records
from reconciler.apply.transport.batch import Batch, Task, TaskEnded, TaskStatus
from reconciler.apply.transport.claim import Claim, HostOwner, drop_others
from reconciler.apply.transport.connection import message_of, run_batch
from reconciler.apply.transport.fence import Fence, drop_other_fences
from reconciler.engine import Engine, Origin
from reconciler.errors import HostError
from reconciler.plan.resources import Resource, from_data
from reconciler.plan.snapshot import Counters, allocation_from_data
from reconciler.spec.models.names import HostName, LinkId, SliceId, SliceKey, VmId
from reconciler.state.export import Export
from reconciler.state.hostcopy import StateCopy, encode_copy
from reconciler.state.sql.store import SqlStore
from reconciler.state.store import Holder
from reconciler.workflow.load import Inputs
from reconciler.workflow.recovery import Recovery, candidates, choose_copies, recover
from reconciler.workflow.state_admin import Imported, import_state


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A state that was rebuilt and written, and why hosts could not be told (they are told by a later rebuild)."""

    recovery: Recovery
    imported: Imported
    untold: Mapping[HostName, str]


async def examine(engine: Engine, inputs: Inputs, store: SqlStore) -> Recovery:
    """Read what every host keeps and has, and build the state from it; changes nothing."""
    cluster = inputs.cluster.cluster
    hosts = [HostName(host.name) for host in cluster.hosts()]
    base = await engine.worker.run(store.export)
    read = await read_records(engine.connector, hosts)
    records = {host: each for host, each in read.items() if isinstance(each, HostRecords)}
    copies = choose_copies(records, base)
    found = candidates(copies, base)
    targets = [SurveyTarget(host, cluster.bridge.name) for host in records]
    observed = await observe(engine.connector, [each.resource for each in found], DRIVERS, surveyed=targets)
    former = [each.former for each in found if each.former is not None]
    formerly = await observe(engine.connector, former, DRIVERS) if former else Observation({}, {}, {}, {})
    recovery = recover(base, copies, found, observed, formerly, holder=engine.holder, now=datetime.now(UTC))
    resources = [from_data(entry.resource) for entry in recovery.export.resources]
    return replace(
        recovery,
        orphans=len(find_orphans(observed, resources, copies.lineage, DRIVERS)),
        unread={host: message_of(error) for host, error in read.items() if isinstance(error, HostError)},
    )


async def perform(engine: Engine, inputs: Inputs, store: SqlStore, recovery: Recovery, backup: Path) -> Rebuilt:
    """Write the rebuilt state, after the old one was saved beside `backup`, and let the hosts work for it.

    Raises StateLocked while a lock of the state is held, and StateError if the state has changed meanwhile.
    """
    imported = await engine.worker.run(import_state, store, recovery.export, engine.holder, backup)
    hosts = [HostName(host.name) for host in inputs.cluster.cluster.hosts()]
    read = [host for host in hosts if host not in recovery.unread]
    told = await asyncio.gather(*(_tell(engine, host, recovery.export) for host in read))
    untold = {error.host: message_of(error) for error in told if error is not None}
    return Rebuilt(recovery, imported, {HostName(host): reason for host, reason in untold.items()})


async def _tell(engine: Engine, host: HostName, export: Export) -> HostError | None:
    """Let a host work for this state alone, with copies of what the state has there; return why it could not be."""
    copies = {copy.name: encode_copy(copy) for copy in copies_on(host, export)}
    if not copies:
        return None
    claim = Claim(_owner(engine.origin or Origin(export.cluster, ""), engine.holder, export), copies, take=True)
    tidy = Task(0, (drop_others(export.lineage), drop_other_fences(export.lineage)))
    batch = Batch((tidy,), fence=Fence(export.lineage, {}, claim=claim))
    try:
        async with aclosing(run_batch(await engine.connector.connect(host), batch)) as events:
            (ended,) = [event async for event in events if isinstance(event, TaskEnded)]
    except HostError as error:
        return error
    return None if ended.status is TaskStatus.DONE else HostError(host, ended.message)


def _owner(origin: Origin, holder: Holder, export: Export) -> HostOwner:
    return HostOwner(
        lineage=export.lineage,
        apply=export.counters.applies,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        cluster=origin.cluster,
        who=f"{holder.user} on host {holder.host}",
        place=origin.place,
    )


def copies_on(host: HostName, export: Export) -> Iterable[StateCopy]:
    """Yield the copies that a host has of a state: of each slice with something there, and of what slices share."""
    groups: dict[SliceKey | None, list[Resource]] = {}
    for entry in export.resources:
        resource = from_data(entry.resource)
        groups.setdefault(None if resource.slice is None else SliceKey(resource.slice), []).append(resource)
    numbers = {SliceKey(entry.key): entry.allocation for entry in export.slices}
    given = export.counters
    for key, group in groups.items():
        if any(resource.host == host for resource in group):
            allocation = numbers.get(key) if key is not None else None
            yield StateCopy(
                lineage=export.lineage,
                apply=given.applies,
                saved=datetime.now(UTC).isoformat(timespec="seconds"),
                slice=key,
                counters=Counters(SliceId(given.slice_id), VmId(given.vm_id), LinkId(given.link_id), given.turn),
                serial=export.serial,
                allocation=None if allocation is None else allocation_from_data(allocation),
                resources=tuple(group),
                settled=True,
            )
