"""Ask hosts one read-only question each, all at once; what is asked, and what an answer means, is the caller's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing

from reconciler.apply.transport.batch import CUT, Ended, Task, TaskStatus, Transcript
from reconciler.apply.transport.command import Command, Result
from reconciler.apply.transport.connection import Connector
from reconciler.apply.transport.conversation import NO_LOCK, PROBE_CAP, Nonce, run_batch
from reconciler.errors import HostError
from reconciler.spec.models.names import HostName


async def ask(connector: Connector, commands: Mapping[HostName, Command], nonce: Nonce) -> dict[HostName, Result]:
    """Return how one command of each host ended; raises HostError where a host does not answer, or too long."""
    hosts = sorted(commands)
    results = await asyncio.gather(*(_answer(connector, host, commands[host], nonce) for host in hosts))
    return dict(zip(hosts, results, strict=True))


async def _answer(connector: Connector, host: HostName, command: Command, nonce: Nonce) -> Result:
    transcript = Transcript([Task(0, (command,))], nonce(), PROBE_CAP)
    async with aclosing(run_batch(await connector.connect(host), transcript, NO_LOCK)) as events:
        (ended,) = [event async for event in events if isinstance(event, Ended)]
    if ended.status is not TaskStatus.DONE:
        raise HostError(host, ended.words)
    if ended.results[0].output.endswith(CUT):
        raise HostError(host, f"its answer is longer than {PROBE_CAP} bytes")
    return ended.results[0]
