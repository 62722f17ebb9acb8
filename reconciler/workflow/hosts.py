"""Reports on each host: its state, what the state has there, and the disk space that it says it has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from reconciler.apply.observation.space import Space, read_space
from reconciler.apply.transport.connection import Connector, message_of
from reconciler.errors import HostError
from reconciler.plan.graph import natural
from reconciler.plan.snapshot import Cordon, StateSnapshot
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Bytes, HostName, SliceKey
from reconciler.state.store import StateReader


class HostStatus(StrEnum):
    """Whether a host can be used; the first that applies, from the last to the first."""

    READY = "ready"
    CORDONED = "cordoned"
    UNREACHABLE = "unreachable"
    UNKNOWN = "not in the cluster file"


@dataclass(frozen=True, slots=True)
class HostReport:
    """One host. `vms`, `vcpus`, `memory` and `disk` (the sizes of the disks of its VMs) are those of the state.

    `used` and `free` are of the file system of its disks, None if it was not read. Sizes are in bytes.
    """

    host: HostName
    status: HostStatus
    vms: int
    vcpus: int
    memory: Bytes
    disk: Bytes
    used: int | None
    free: int | None
    slices: tuple[SliceKey, ...]
    cordon: Cordon | None
    reason: str | None


async def report_hosts(cluster: Cluster, reader: StateReader, connector: Connector) -> tuple[HostReport, ...]:
    """Report on the hosts of the cluster file, then on others that the state names; reads only, one batch per host."""
    known = [HostName(host.name) for host in cluster.hosts()]
    state, spaces = await asyncio.gather(asyncio.to_thread(reader.read, None), read_space(connector, known))
    return tuple(_reports(known, state, spaces))


def _reports(
    known: list[HostName], state: StateSnapshot, spaces: Mapping[HostName, Space | HostError]
) -> Iterator[HostReport]:
    named = {entry.resource.host for entry in state.resources.values()} | state.cordoned.keys()
    placed = [(key, vm) for key, given in state.allocations.items() for vm in given.vms.values()]
    named |= {vm.worker for _, vm in placed}
    for host in [*known, *sorted(named.difference(known), key=natural)]:
        resources = [entry.resource for entry in state.resources.values() if entry.resource.host == host]
        vms = [vm for _, vm in placed if vm.worker == host]
        slices = {SliceKey(one.slice) for one in resources if one.slice is not None}
        slices.update(key for key, vm in placed if vm.worker == host)
        space = spaces.get(host)
        read = space if isinstance(space, Space) else None
        yield HostReport(
            host=host,
            status=_status(host, state, space),
            vms=len(vms),
            vcpus=sum(vm.vcpus for vm in vms),
            memory=Bytes(sum(vm.memory for vm in vms)),
            disk=Bytes(sum(one.disk_space for one in resources)),
            used=None if read is None else read.used,
            free=None if read is None else read.free,
            slices=tuple(sorted(slices, key=natural)),
            cordon=state.cordoned.get(host),
            reason=message_of(space) if isinstance(space, HostError) else None,
        )


def _status(host: HostName, state: StateSnapshot, space: Space | HostError | None) -> HostStatus:
    if space is None:
        return HostStatus.UNKNOWN
    if isinstance(space, HostError):
        return HostStatus.UNREACHABLE
    return HostStatus.CORDONED if host in state.cordoned else HostStatus.READY
