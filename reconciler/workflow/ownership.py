"""Keeps each host for one state: refuses hosts of another one, and leaves copies of the state where it has something.

A host says which state uses it. It refuses the batches of any other state by itself; this module finds out before an
apply shows its plan, and for gc, so that nothing is half done. The copies serve `state rebuild`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime

from reconciler.apply.observation.owners import read_owners
from reconciler.apply.transport.batch import Batch, Task
from reconciler.apply.transport.claim import Claim, HostOwner, drop_copy, release, write_copy
from reconciler.apply.transport.command import Command
from reconciler.apply.transport.connection import Connector, run_batch
from reconciler.apply.transport.fence import Fence
from reconciler.engine import Engine
from reconciler.errors import HostError, HostOwned, StateBehind, StateError
from reconciler.plan.model import Action, Plan
from reconciler.plan.renames import former_slices
from reconciler.plan.resources import Resource
from reconciler.plan.snapshot import SliceAllocation, StateSnapshot
from reconciler.spec.models.names import HostName, SliceKey
from reconciler.spec.quoting import plural
from reconciler.state.hostcopy import StateCopy, encode_copy
from reconciler.state.store import ApplyId, Lock, StateMarks, StateReader
from reconciler.workflow.refresh import all_resources
from reconciler.workflow.steps import OpenApply, fence_of

REBUILD = "`reconciler state rebuild` recovers what is on the hosts"


async def refuse_foreign_hosts(reader: StateReader, connector: Connector, hosts: Iterable[HostName]) -> None:
    """Raise HostOwned where a host belongs to another state, and StateBehind where one has seen later applies of this.

    Hosts that cannot be reached are left out: their steps fail anyway.
    """
    await refuse_owners(reader, await read_owners(connector, hosts))


async def refuse_owners(reader: StateReader, owners: Mapping[HostName, HostOwner]) -> None:
    """Raise HostOwned or StateBehind for hosts that were read, see `refuse_foreign_hosts`."""
    if owners:
        # Read after the hosts, so that an apply that ends meanwhile does not make this state look older than they are.
        marks = await asyncio.to_thread(reader.marks, (), ApplyId(0))
        _refuse_other(owners, marks)
        _refuse_behind(owners, marks)


def _refuse_other(owners: Mapping[HostName, HostOwner], marks: StateMarks) -> None:
    others = {host: owner for host, owner in owners.items() if owner.lineage != marks.lineage}
    if not others:
        return
    host, owner = next(iter(sorted(others.items())))
    more = f", as do {plural(len(others) - 1, 'other host')}" if len(others) > 1 else ""
    raise HostOwned(
        host,
        f"it belongs to another state{more}: {owner.place} of cluster {owner.cluster} (lineage {owner.lineage}), "
        f"since {_time(owner.since)}, last used by {owner.who}",
    )


def _time(since: str) -> str:
    return f"{since[:16].replace('T', ' ')} UTC"


def _refuse_behind(owners: Mapping[HostName, HostOwner], marks: StateMarks) -> None:
    latest = 0 if marks.latest is None else marks.latest[0]
    host, owner = max(owners.items(), key=lambda item: item[1].apply)
    if owner.apply > latest:
        raise StateBehind(
            f"{host} has seen apply {owner.apply} of this state by {owner.who}, but its latest apply is {latest}: "
            "it was restored from an older copy, or two copies are in use",
            hint=f"use the newest copy, or none: {REBUILD}",
        )


async def claims(engine: Engine, opened: OpenApply, hosts: Iterable[HostName]) -> dict[HostName, Claim]:
    """Return the claims of an apply on hosts, without copies; none if its engine has no origin."""
    if engine.origin is None:
        return {}
    owner = HostOwner(
        lineage=opened.lineage,
        apply=opened.number,
        since=_now(),
        cluster=engine.origin.cluster,
        who=f"{engine.holder.user} on host {engine.holder.host}",
        place=engine.origin.place,
    )
    return dict.fromkeys(hosts, Claim(owner))


async def claims_with_copies(engine: Engine, opened: OpenApply, plan: Plan) -> dict[HostName, Claim]:
    """Return the claims of an apply on the hosts of its steps, with copies of the state as the apply will leave it.

    They are written before the first step, so that a state that is lost during the apply can be rebuilt too.
    """
    plain = await claims(engine, opened, {step.host for step in plan.steps})
    if not plain:
        return plain
    copies = copies_of(await engine.worker.run(opened.store.read, plan.slices), plan, opened)
    texts = {copy.name: encode_copy(copy) for copy in copies}
    return {
        host: replace(claim, copies={copy.name: texts[copy.name] for copy in copies if host in _hosts(copy)})
        for host, claim in plain.items()
    }


def copies_of(state: StateSnapshot, plan: Plan, opened: OpenApply) -> list[StateCopy]:
    """Return copies of what the plan concerns, as it will be after the apply, with what it deletes and changes."""
    former: dict[SliceKey | None, list[Resource]] = {}
    after = {
        key: {where: entry.resource for where, entry in state.resources.items() if _slice_of(entry.resource) == key}
        for key in _concerned(plan)
    }
    for change in plan.changes:
        key = _slice_of(change.subject)
        if change.before is not None:
            former.setdefault(key, []).append(change.before)
        if change.after is not None:
            after[key][change.address] = change.after
        else:
            after[key].pop(change.address, None)
    return [
        replace(
            _copy(state, plan.allocations.get(key) if key else None, opened, key, resources.values()),
            counters=plan.counters,
            former=tuple(former.get(key, ())),
        )
        for key, resources in after.items()
    ]


def settled_copies(state: StateSnapshot, plan: Plan, opened: OpenApply) -> list[StateCopy]:
    """Return copies of what the plan concerned, as the state has it after the apply."""
    return [
        replace(
            _copy(
                state,
                state.allocations.get(key) if key else None,
                opened,
                key,
                (entry.resource for entry in state.resources.values() if _slice_of(entry.resource) == key),
            ),
            settled=True,
        )
        for key in _concerned(plan)
    ]


def _former_copies(state: StateSnapshot, plan: Plan, opened: OpenApply) -> list[StateCopy]:
    """Return empty copies, which no host keeps, of slices that the state no longer has under these names."""
    former = {key for change in plan.changes for key in former_slices(change.subject)}
    return [_copy(state, None, opened, key, ()) for key in sorted(former - state.allocations.keys())]


def _concerned(plan: Plan) -> list[SliceKey | None]:
    """Return the slices of a plan, and None if it changes what slices share."""
    shared = any(change.subject.slice is None for change in plan.changes)
    return [*plan.slices, None] if shared else [*plan.slices]


def _copy(
    state: StateSnapshot,
    allocation: SliceAllocation | None,
    opened: OpenApply,
    key: SliceKey | None,
    resources: Iterable[Resource],
) -> StateCopy:
    return StateCopy(
        lineage=opened.lineage,
        apply=opened.number,
        saved=_now(),
        slice=key,
        counters=state.counters,
        serial=state.serial,
        allocation=allocation,
        resources=tuple(resources),
    )


async def settle_copies(engine: Engine, opened: OpenApply, plan: Plan, freed: Iterable[HostName] = ()) -> None:
    """Bring the copies on hosts up to date after an apply that deleted or renamed, and free hosts that have nothing.

    Of the hosts in `freed`, those are freed too that the plan does not concern. A host that cannot be reached keeps its
    older copies: `state rebuild` compares them with what is there.
    """
    deleting = {step.host for step in plan.steps if step.action is Action.DELETE or step.subject.formerly}
    if engine.origin is None or not {*deleting, *freed}:
        return
    state = await engine.worker.run(engine.store.read, None)
    used = _used(state)
    copies = [*settled_copies(state, plan, opened), *_former_copies(state, plan, opened)]
    hosts = deleting | (set(freed) - used)
    await asyncio.gather(
        *(_run(engine, host, opened.fence, _corrections(opened.lineage, host, used, copies)) for host in hosts)
    )


def _corrections(
    lineage: str, host: HostName, used: Iterable[HostName], copies: Iterable[StateCopy]
) -> Sequence[Command]:
    if host not in used:
        return [release(lineage)]
    return [
        write_copy(lineage, copy.name, encode_copy(copy)) if host in _hosts(copy) else drop_copy(lineage, copy.name)
        for copy in copies
    ]


async def release_unused(engine: Engine, locks: Iterable[Lock], hosts: Iterable[HostName]) -> None:
    """Free the hosts on which this state has nothing; this waits for hosts that do not answer."""
    if engine.origin is None:
        return
    state = await engine.worker.run(engine.store.read, None)
    fence = fence_of(state.lineage, locks)
    unused = set(hosts) - _used(state)
    await asyncio.gather(*(_run(engine, host, fence, [release(state.lineage)]) for host in unused))


def _used(state: StateSnapshot) -> set[HostName]:
    return {resource.host for resource in all_resources(state)}


async def _run(engine: Engine, host: HostName, fence: Fence, commands: Sequence[Command]) -> None:
    """Run commands on a host; without them it is only less prepared for a rebuild, so no error is raised."""
    try:
        connection = await engine.connector.connect(host)
        batch = Batch((Task(0, tuple(commands)),), fence=fence)
        async with aclosing(run_batch(connection, batch)) as events:
            async for _ in events:
                pass
    except (HostError, StateError):
        pass


def _hosts(copy: StateCopy) -> set[HostName]:
    return {resource.host for resource in (*copy.resources, *copy.former)}


def _slice_of(resource: Resource) -> SliceKey | None:
    return None if resource.slice is None else SliceKey(resource.slice)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
