"""Refuses disks that are larger than the whole file system of their worker.

Overlays are sparse, so disks may together promise more than there is; a single one that could never be filled is a
mistake.
"""

from __future__ import annotations

from reconciler.apply.observation.space import Space, read_space
from reconciler.apply.transport.connection import Connector
from reconciler.errors import PlanError
from reconciler.plan.model import Plan
from reconciler.plan.resources import Resource
from reconciler.spec.models.fields import format_size
from reconciler.spec.models.names import HostName

_MIB = 2**20


async def refuse_disks_without_room(connector: Connector, planned: Plan) -> None:
    """Raise PlanError if the plan creates, moves or grows a disk beyond its worker's file system.

    A worker that cannot be asked is left to the steps there.
    """
    largest = _largest(planned)
    spaces = await read_space(connector, largest) if largest else {}
    for host, disk in largest.items():
        space = spaces[host]
        if isinstance(space, Space) and disk.disk_space > space.used + space.free:
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
