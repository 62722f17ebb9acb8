"""Runs one read-only command on each of several hosts, on all of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing

from reconciler.apply.transport.batch import CUT, NO_LOCK, PROBE_CAP, Batch, Task, TaskEnded, TaskStatus
from reconciler.apply.transport.command import Command, Result
from reconciler.apply.transport.connection import Connector, run_batch
from reconciler.errors import HostError
from reconciler.spec.models.names import HostName


async def query(connector: Connector, commands: Mapping[HostName, Command]) -> dict[HostName, Result]:
    """Return the result of each host's command; raises HostError if one fails or its output is too long."""
    hosts = sorted(commands)
    results = await asyncio.gather(*(_query(connector, host, commands[host]) for host in hosts))
    return dict(zip(hosts, results, strict=True))


async def _query(connector: Connector, host: HostName, command: Command) -> Result:
    batch = Batch((Task(0, (command,)),), NO_LOCK, output_cap=PROBE_CAP)
    async with aclosing(run_batch(await connector.connect(host), batch)) as events:
        (ended,) = [event async for event in events if isinstance(event, TaskEnded)]
    if ended.status is not TaskStatus.DONE:
        raise HostError(host, ended.message)
    if ended.results[0].output.endswith(CUT):
        raise HostError(host, f"its output is longer than {PROBE_CAP} bytes")
    return ended.results[0]
