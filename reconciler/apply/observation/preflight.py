"""Reads of hosts, in one batch each, what decides whether a plan can be carried out there. Reads only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from reconciler.apply.observation.listeners import OTHERS, local_address, program
from reconciler.apply.observation.space import READ_SPACE, Space, parse_space
from reconciler.apply.transport.batch import NO_LOCK, PROBE_CAP, Batch, Task, TaskEnded, TaskStatus
from reconciler.apply.transport.claim import READ_OWNER, HostOwner, parse_owner
from reconciler.apply.transport.command import script
from reconciler.apply.transport.connection import Connector, run_batch
from reconciler.errors import HostError
from reconciler.plan.resources import ROOT
from reconciler.spec.models.names import HostName

READ_LISTENERS: Final = script(
    f"""root=$1
say() {{ printf '%s\\n' "$2"; }}
{OTHERS}
others vnc -t 'sport >= :5901'
""",
    ROOT,
)
"""The command that prints the programs, other than VMs, which listen on TCP ports that VMs get for VNC."""

_IN_THE_WAY: Final = frozenset({"127.0.0.1", "0.0.0.0", "*", "[::]", "[::ffff:127.0.0.1]"})  # noqa: S104 - of others
"""Addresses of listeners beside which no VM can listen on 127.0.0.1."""


@dataclass(frozen=True, slots=True)
class HostPreflight:
    """What was read of a host: the state that uses it, its disk space if known, and TCP ports that others occupy."""

    owner: HostOwner | None
    space: Space | None
    occupied: frozenset[int]


async def read_preflight(connector: Connector, hosts: Iterable[HostName]) -> Mapping[HostName, HostPreflight]:
    """Read all hosts at once; those that cannot be read are left out."""
    asked = sorted(set(hosts))
    found = await asyncio.gather(*(_read(connector, host) for host in asked))
    return {host: one for host, one in zip(asked, found, strict=True) if one is not None}


async def _read(connector: Connector, host: HostName) -> HostPreflight | None:
    tasks = (Task(0, (READ_OWNER,)), Task(1, (READ_SPACE,)), Task(2, (READ_LISTENERS,)))
    try:
        connection = await connector.connect(host)
        async with aclosing(run_batch(connection, Batch(tasks, NO_LOCK, output_cap=PROBE_CAP))) as events:
            ended = {event.number: event async for event in events if isinstance(event, TaskEnded)}
    except HostError:
        return None
    return _parse(host, ended[0], ended[1], ended[2])


def _parse(host: HostName, owner: TaskEnded, space: TaskEnded, listeners: TaskEnded) -> HostPreflight | None:
    if owner.status is not TaskStatus.DONE:
        return None
    room = parse_space(host, space)
    return HostPreflight(
        owner=parse_owner(host, owner.results[0]),
        space=room if isinstance(room, Space) else None,
        occupied=frozenset(_ports(listeners.results[0].output)) if listeners.status is TaskStatus.DONE else frozenset(),
    )


def _ports(listeners: str) -> Iterator[int]:
    """Yield the ports of listeners on which no VM can listen too; without a program, the listener may be a VM."""
    for line in listeners.splitlines():
        address, port = local_address(line)
        if address in _IN_THE_WAY and program(line) is not None and port.isdecimal():
            yield int(port)
