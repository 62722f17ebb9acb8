"""Compares the hosts with the state: drift of resources, orphans, and what could not be read. Reads only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.apply.drivers.driver import SurveyTarget
from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.observation.drift import Drift, DriftKind, find_drift
from reconciler.apply.observation.observe import Drivers, KnownFacts, Observation, ResourceKey, observe
from reconciler.apply.observation.orphans import Orphan, Unread, find_orphans, unread
from reconciler.apply.transport.connection import Connector, message_of
from reconciler.errors import HostError, HostUnreachable
from reconciler.plan.model import Action, Plan
from reconciler.plan.resources import Resource, Vm
from reconciler.plan.resources.base import kind_in
from reconciler.plan.snapshot import ResourceDrift, Seen, StateSnapshot, Status
from reconciler.spec.models.names import Address, HostName, SliceKey
from reconciler.state.store import StateReader
from reconciler.workflow.load import Inputs


def present_resources(reader: StateReader, scope: Collection[SliceKey] | None = None) -> list[Resource]:
    """Return the present resources of some slices or of all, and those that slices share."""
    return _present(reader.read(scope), scope)


def _present(state: StateSnapshot, scope: Collection[SliceKey] | None) -> list[Resource]:
    return [
        entry.resource
        for entry in state.resources.values()
        if entry.status is Status.PRESENT and (scope is None or entry.resource.slice in {None, *scope})
    ]


@dataclass(frozen=True, slots=True)
class UnseenHost:
    """A host of which something could not be read, and how many resources of the state are unknown for that reason."""

    host: HostName
    reason: str
    vms: int
    resources: int


@dataclass(frozen=True, slots=True)
class Refreshed(Seen):
    """What was seen on the hosts that a plan concerns, what could not be read, and the facts that were."""

    unseen: tuple[UnseenHost, ...] = ()
    known: Mapping[HostName, KnownFacts] = field(default_factory=dict)


NOT_REFRESHED = Refreshed()


async def refresh(
    inputs: Inputs,
    reader: StateReader,
    connector: Connector,
    draft: Plan,
    destroy: tuple[SliceKey, ...] = (),
    drivers: Drivers | None = None,
) -> Refreshed:
    """Compare the hosts that a plan concerns with the state; reads only.

    Where hosts have something to compare, what the plan creates there is looked for too: an apply that follows at once
    need not look again. Slices to destroy are not compared.
    """
    hosts = _hosts(inputs, draft)
    staying = {*draft.slices, *(rename.former for rename in draft.renames)}.difference(destroy)
    present = await asyncio.to_thread(present_resources, reader, staying)
    resources = {(resource.host, resource.address): resource for resource in present if resource.host in hosts}
    compared = {resource.host for resource in resources.values()}
    wanted = {
        (step.host, step.address): step.subject
        for step in draft.steps
        if step.host in compared and step.subject.slice not in destroy
    }
    begun = time.monotonic()
    observed = await observe(connector, (wanted | resources).values(), drivers or DRIVERS)
    found = find_drift(resources.values(), observed)
    drifted = {
        item.address: ResourceDrift(
            item.kind is DriftKind.MISSING, {each.name: each.observed for each in item.attributes}
        )
        for item in found
        if item.kind is not DriftKind.UNREACHABLE
    }
    known = _known_facts(wanted | resources, observed, begun)
    down = await _down(inputs, connector, draft, observed)
    return Refreshed(drifted, down, unseen=tuple(_unseen(found)), known=known)


def _hosts(inputs: Inputs, plan: Plan) -> set[HostName]:
    """Return the hosts that a plan concerns: those of VMs, also where something moves away, and the network node."""
    workers = {vm.worker for given in plan.allocations.values() for vm in given.vms.values()}
    sources = {step.source for step in plan.steps if step.source is not None}
    return workers | sources | {HostName(inputs.cluster.cluster.network_node.name)}


def hosts_of(inputs: Inputs, plan: Plan) -> set[HostName]:
    """Return the hosts that a plan concerns, with those where it only deletes."""
    return _hosts(inputs, plan) | {step.host for step in plan.steps}


def concerning(inputs: Inputs, seen: Refreshed, plan: Plan) -> Refreshed:
    """Leave out what could not be read on hosts that only the draft of a plan concerned, before VMs went elsewhere."""
    hosts = _hosts(inputs, plan)
    return replace(seen, unseen=tuple(each for each in seen.unseen if each.host in hosts))


async def _down(inputs: Inputs, connector: Connector, draft: Plan, observed: Observation) -> dict[HostName, str]:
    """Return which hosts are down: of those that were observed, those that get something new, and their substitutes.

    Where a new VM cannot be created on its worker, every other worker may get it. If no worker can be reached, none is
    said to be down: the fault is probably on this side, and each step reports it.
    """
    workers = {HostName(worker.name) for worker in inputs.cluster.cluster.workers}
    read = {host for host, _ in observed.facts}
    down = {
        host: message_of(error) for host, error in observed.unreachable.items() if isinstance(error, HostUnreachable)
    }
    fresh = {step.host for step in draft.steps if step.action is Action.CREATE}
    down |= await unreachable(connector, {*fresh, *leftover_hosts(draft)}.difference(read, observed.unreachable))
    if not fresh.isdisjoint(down):
        down |= await unreachable(connector, workers.difference(read, fresh, observed.unreachable))
    return {} if workers <= down.keys() else down


def leftover_hosts(draft: Plan) -> set[HostName]:
    """Return the hosts where a plan only deletes what slices shared; without them it can still do all that is asked."""
    own = {step.host for step in draft.steps if step.subject.slice is not None or step.action is not Action.DELETE}
    return {step.host for step in draft.steps} - own


async def unreachable(connector: Connector, hosts: Collection[HostName]) -> dict[HostName, str]:
    """Connect to these hosts, all at once; return those that cannot be reached, with the reason.

    A host that has another host key or refuses the login is not one of them. Its steps fail, so that somebody looks
    into it: a VM that quietly goes elsewhere would hide an attack, or a mistake in the cluster file.
    """

    async def reason(host: HostName) -> str | None:
        try:
            await connector.connect(host)
        except HostUnreachable as error:
            return message_of(error)
        except HostError:  # it answers: what is wrong is for the step to report
            pass
        return None

    asked = sorted(hosts)
    reasons = await asyncio.gather(*map(reason, asked))
    return {host: why for host, why in zip(asked, reasons, strict=True) if why is not None}


def _unseen(found: Iterable[Drift]) -> Iterator[UnseenHost]:
    """Yield what could not be read, by host and reason."""
    groups: dict[tuple[HostName, str], list[Address]] = {}
    for item in found:
        if item.kind is DriftKind.UNREACHABLE:
            groups.setdefault((item.host, item.message), []).append(item.address)
    for (host, reason), addresses in sorted(groups.items()):
        yield UnseenHost(host, reason, sum(kind_in(where) == Vm.kind for where in addresses), len(addresses))


def _known_facts(
    looked_for: Mapping[ResourceKey, Resource], observed: Observation, read_at: float
) -> dict[HostName, KnownFacts]:
    """Return the facts of each host, with the resources that they are about."""
    by_host: dict[HostName, dict[Address, tuple[Resource, Any]]] = {}
    for (host, where), fact in observed.facts.items():
        by_host.setdefault(host, {})[where] = looked_for[host, where], fact
    return {
        host: KnownFacts(read_at, observed.batches[host], found)
        for host, found in by_host.items()
        if host in observed.batches
    }


@dataclass(frozen=True, slots=True)
class ClusterDrift:
    """How the hosts differ from the state: drift of resources, orphans, and what could not be read."""

    drift: tuple[Drift, ...]
    orphans: tuple[Orphan, ...]
    unread: tuple[Unread, ...]


async def drift(
    inputs: Inputs, reader: StateReader, connector: Connector, scope: Collection[SliceKey] | None = None
) -> ClusterDrift:
    """Compare the hosts with the state, and find orphans; reads only, one batch per host.

    With a scope, only the hosts of those slices are surveyed, and only orphans of those slices are returned.
    """
    cluster = inputs.cluster.cluster
    before = await asyncio.to_thread(reader.read, None)
    resources = _present(before, scope)
    hosts = [HostName(host.name) for host in cluster.hosts()]
    if scope is not None:
        hosts = [host for host in hosts if any(host == resource.host for resource in resources)]
    target = [SurveyTarget(host, cluster.bridge.name) for host in hosts]
    observed = await observe(connector, resources, DRIVERS, surveyed=target)
    # An apply may run meanwhile: what it made is in the state by now, and what it removed was there before.
    after = await asyncio.to_thread(reader.read, None)
    known = [*all_resources(before), *all_resources(after)]
    orphans = find_orphans(observed, known, before.lineage, DRIVERS)
    return ClusterDrift(
        drift=find_drift(resources, observed),
        orphans=tuple(orphan for orphan in orphans if scope is None or orphan.resource.slice in scope),
        unread=unread(observed),
    )


def all_resources(state: StateSnapshot) -> Iterator[Resource]:
    """Yield every resource of the state, and what unfinished steps were to make of it."""
    for entry in state.resources.values():
        yield entry.resource
        if entry.pending is not None:
            yield entry.pending


async def compare(
    resources: Sequence[Resource], connector: Connector, drivers: Drivers | None = None
) -> Sequence[Drift]:
    """Compare the hosts with these resources; reads only, one batch per host."""
    return find_drift(resources, await observe(connector, resources, drivers or DRIVERS))
