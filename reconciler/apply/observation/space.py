"""Reads how much disk space hosts have where the disks of VMs are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Final, NamedTuple

from reconciler.apply.transport.batch import NO_LOCK, Batch, Task, TaskEnded, TaskStatus
from reconciler.apply.transport.command import Command
from reconciler.apply.transport.connection import Connector, run_batch
from reconciler.errors import HostError
from reconciler.spec.models.names import HostName

READ_SPACE: Final = Command(
    ("sh", "-c", "place=/var/lib/reconciler; [ -d $place ] || place=/var/lib; exec df -B1 --output=used,avail $place")
)
"""The command that prints the used and the free bytes of the file system of disks."""


class Space(NamedTuple):
    """The bytes of a file system that are used, and those that are free."""

    used: int
    free: int


async def read_space(connector: Connector, hosts: Iterable[HostName]) -> Mapping[HostName, Space | HostError]:
    """Return the space of each host, or why it could not be read; reads only, one batch per host, all at once."""
    asked = list(hosts)
    return dict(zip(asked, await asyncio.gather(*(_read(connector, host) for host in asked)), strict=True))


async def _read(connector: Connector, host: HostName) -> Space | HostError:
    try:
        connection = await connector.connect(host)
        async with aclosing(run_batch(connection, Batch((Task(0, (READ_SPACE,)),), NO_LOCK))) as events:
            async for event in events:
                if isinstance(event, TaskEnded):
                    return parse_space(host, event)
    except HostError as error:
        return error
    return HostError(host, "it did not say how much disk space it has")


def parse_space(host: HostName, ended: TaskEnded) -> Space | HostError:
    """Return the space of a host from the end of a task that ran `READ_SPACE`, or why it is not known."""
    if ended.status is not TaskStatus.DONE:
        return HostError(host, ended.message)
    try:
        used, free = map(int, ended.results[0].output.split()[-2:])
    except (ValueError, IndexError):
        return HostError(host, "the output of df cannot be parsed")
    return Space(used, free)
