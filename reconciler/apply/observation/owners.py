"""Reads which state uses each host, and the copies of states that hosts keep. Reads only, all hosts at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from reconciler.apply.transport.batch import CUT, NO_LOCK, PROBE_CAP, Batch, Task, TaskEnded, TaskStatus
from reconciler.apply.transport.claim import READ_COPIES, READ_OWNER, HostOwner, parse_copies, parse_owner
from reconciler.apply.transport.command import Command, Result
from reconciler.apply.transport.connection import Connector, run_batch
from reconciler.apply.transport.fence import LIST_FENCES, parse_fences
from reconciler.errors import HostError
from reconciler.spec.models.names import HostName

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HostRecords:
    """What a host keeps of states: its owner, copies by name, and the highest token of each lock, by lineage."""

    owner: HostOwner | None
    copies: tuple[tuple[str, str], ...]
    fences: Mapping[str, Mapping[str, int]]


async def read_owners(connector: Connector, hosts: Iterable[HostName]) -> Mapping[HostName, HostOwner]:
    """Return which state uses each host; hosts that no state uses or that cannot be read are left out."""

    def parse(host: HostName, results: tuple[Result, ...]) -> HostOwner | None:
        return parse_owner(host, results[0])

    found = await _read(connector, hosts, (READ_OWNER,), parse)
    return {host: owner for host, owner in found.items() if isinstance(owner, HostOwner)}


async def read_records(connector: Connector, hosts: Iterable[HostName]) -> Mapping[HostName, HostRecords | HostError]:
    """Return what each host keeps of states, or why it could not be read."""

    def parse(host: HostName, results: tuple[Result, ...]) -> HostRecords:
        owner, copies, fences = results
        return HostRecords(parse_owner(host, owner), parse_copies(host, copies), parse_fences(host, fences))

    return await _read(connector, hosts, (READ_OWNER, READ_COPIES, LIST_FENCES), parse)


async def _read(
    connector: Connector,
    hosts: Iterable[HostName],
    commands: tuple[Command, ...],
    parse: Callable[[HostName, tuple[Result, ...]], T],
) -> dict[HostName, T | HostError]:
    async def read(host: HostName) -> T | HostError:
        try:
            batch = Batch((Task(0, commands),), NO_LOCK, output_cap=PROBE_CAP)
            async with aclosing(run_batch(await connector.connect(host), batch)) as events:
                (ended,) = [event async for event in events if isinstance(event, TaskEnded)]
            return parse(host, _complete(host, ended))
        except HostError as error:
            return error

    asked = sorted(set(hosts))
    return dict(zip(asked, await asyncio.gather(*map(read, asked)), strict=True))


def _complete(host: HostName, ended: TaskEnded) -> tuple[Result, ...]:
    if ended.status is not TaskStatus.DONE:
        raise HostError(host, ended.message)
    if any(result.output.endswith(CUT) for result in ended.results):
        raise HostError(host, f"its copies of states are longer than {PROBE_CAP} bytes")
    return ended.results
