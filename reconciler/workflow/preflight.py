"""Finds out, before a plan is shown, whether its hosts can carry it out: whose they are, their disk space, their ports.

Overlays are sparse, so disks may together promise more than there is; a single one that could never be filled is a
mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from reconciler.apply.observation.preflight import HostPreflight, read_preflight
from reconciler.apply.transport.connection import Connector
from reconciler.errors import PlanError
from reconciler.plan.model import Plan
from reconciler.plan.resources import Resource
from reconciler.spec.models.fields import format_size
from reconciler.spec.models.names import HostName, SliceKey, VmName
from reconciler.state.store import StateReader
from reconciler.workflow.ownership import refuse_owners
from reconciler.workflow.refresh import Refreshed

_MIB = 2**20


async def preflight(
    reader: StateReader, connector: Connector, hosts: Iterable[HostName]
) -> Mapping[HostName, HostPreflight]:
    """Read hosts; raises HostOwned or StateBehind, see `refuse_owners`.

    A host that cannot be read is left out: its steps report that.
    """
    found = await read_preflight(connector, hosts)
    await refuse_owners(reader, {host: one.owner for host, one in found.items() if one.owner is not None})
    return found


def occupied_ports(found: Mapping[HostName, HostPreflight]) -> Mapping[HostName, frozenset[int]]:
    """Return the TCP ports that other programs occupy, for hosts that have any."""
    return {host: one.occupied for host, one in found.items() if one.occupied}


def changes_plan(seen: Refreshed, planned: Plan) -> bool:
    """Whether a plan must be made again with what was seen on its hosts."""
    return bool(seen.drifted or seen.down or any(_obstructed(planned, seen.occupied)))


def _obstructed(
    planned: Plan, occupied: Mapping[HostName, frozenset[int]]
) -> Iterator[tuple[SliceKey, VmName, HostName, int]]:
    """Yield the VMs of a plan whose VNC port another program occupies, with their workers and these ports."""
    for key, given in planned.allocations.items():
        for name, vm in given.vms.items():
            if vm.vnc in occupied.get(vm.worker, ()):
                yield key, name, vm.worker, vm.vnc


def refuse_occupied_ports(planned: Plan, found: Mapping[HostName, HostPreflight]) -> None:
    """Raise PlanError if another program occupies the VNC port of a VM of a plan that cannot be made again."""
    for key, name, worker, port in _obstructed(planned, occupied_ports(found)):
        raise PlanError(
            f"VNC port {port} of {worker}, which the plan gives {key}/{name}, is taken by another program there",
            hint="make the plan again with --refresh: the VM gets another port",
        )


def refuse_disks_without_room(planned: Plan, found: Mapping[HostName, HostPreflight]) -> None:
    """Raise PlanError if the plan creates, moves or grows a disk beyond its worker's file system."""
    for host, disk in _largest(planned).items():
        space = found[host].space if host in found else None
        if space is not None and disk.disk_space > space.used + space.free:
            whole = format_size((space.used + space.free) // _MIB * _MIB)
            size = format_size(disk.disk_space)
            raise PlanError(
                f"{disk.address} has {size}, which is more than the whole file system of {host}: {whole}",
                hint="give the VM or its flavor a smaller `disk`, or the worker more space; "
                "`capacity: {disk: ...}` in the cluster file limits a worker at plan",
            )


def _largest(planned: Plan) -> dict[HostName, Resource]:
    """Return the largest disk that is new or grows on each host."""
    found: dict[HostName, Resource] = {}
    for change in planned.changes:
        before, after = change.before, change.after
        if after is None or not after.disk_space:
            continue
        had = before.disk_space if before is not None and before.host == after.host else 0
        if after.disk_space > max(had, found[after.host].disk_space if after.host in found else 0):
            found[after.host] = after
    return found
