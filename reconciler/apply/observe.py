"""What stands on the hosts: every driver's probes for one host in one read-only batch, all hosts at once.

Nothing is compared here; drift.py does that, and the executor works from the facts.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from reconciler.apply.batch import CUT, Begun, Ended, Fate, OperationLock, Task, Transcript, render
from reconciler.apply.connection import Connection, Connector, words_of
from reconciler.apply.drivers.driver import Driver
from reconciler.apply.fence import Fence
from reconciler.errors import HostError, HostUnreachable, StateLost
from reconciler.plan.resources import Kind, Resource
from reconciler.spec.names import Address, HostName

Drivers = Mapping[Kind, Driver[Any, Any]]
"""The driver of each kind; `drivers/table.py` holds all of them."""

Place = tuple[HostName, Address]
"""Where a resource stands: one that moves is on two hosts under one address."""

Nonce = Callable[[], str]
"""Gives 128 fresh random bits in hexadecimal."""

PROBE_CAP: Final = 8 * 1024 * 1024
"""What is kept of one probe's output, in bytes: it tells of all resources of a host; a longer one is an error."""


def random_nonce() -> str:
    """Return a nonce that nothing on a host can guess."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Facts:
    """What one host's drivers read: a fact for each resource, or for a kind why there is none."""

    found: Mapping[Address, Any]
    unread: Mapping[Kind, HostError]


@dataclass(frozen=True, slots=True)
class Observed:
    """What stands on the hosts.

    `facts` are the drivers' own; `attributes` are plain values by name, None where the resource is absent. What could
    not be read is in neither: `unread` says why for one kind on a host, `unreachable` for all of a host.
    """

    facts: Mapping[Place, Any]
    attributes: Mapping[Place, Mapping[str, Any] | None]
    unread: Mapping[tuple[HostName, Kind], HostError]
    unreachable: Mapping[HostName, HostError]

    def obstacle(self, resource: Resource) -> HostError | None:
        """Return why a resource could not be read, or None where it was."""
        return self.unreachable.get(resource.host) or self.unread.get((resource.host, resource.kind))


async def observe(
    connector: Connector, resources: Iterable[Resource], drivers: Drivers, nonce: Nonce = random_nonce
) -> Observed:
    """Read what stands of these resources, at most one of each address on a host."""
    by_host: dict[HostName, list[Resource]] = {}
    for resource in resources:
        by_host.setdefault(resource.host, []).append(resource)

    async def look(host: HostName) -> Facts | HostError:
        try:
            return await read_facts(await connector.connect(host), by_host[host], drivers, nonce)
        except HostError as error:
            return error

    hosts = sorted(by_host)
    answers = dict(zip(hosts, await asyncio.gather(*(look(host) for host in hosts)), strict=True))
    read = {host: answer for host, answer in answers.items() if isinstance(answer, Facts)}
    facts = {(host, address): fact for host, answer in read.items() for address, fact in answer.found.items()}
    return Observed(
        facts=facts,
        attributes={
            place: drivers[resource.kind].observed(resource, facts[place])
            for host in hosts
            for resource in by_host[host]
            if (place := (host, resource.address)) in facts
        },
        unread={(host, kind): error for host, answer in read.items() for kind, error in answer.unread.items()},
        unreachable={host: answer for host, answer in answers.items() if isinstance(answer, HostError)},
    )


async def read_facts(
    connection: Connection,
    resources: Sequence[Resource],
    drivers: Drivers,
    nonce: Nonce = random_nonce,
    fence: Fence | None = None,
) -> Facts:
    """Read the facts of one host's resources in one batch; raises HostError where the host cannot be read at all.

    With a `fence`, no older holder changes anything there once the facts are read.
    """
    groups: dict[Kind, list[Resource]] = {}
    for resource in resources:
        groups.setdefault(resource.kind, []).append(resource)
    kinds = sorted(groups)
    tasks = [Task(number, drivers[kind].probe(groups[kind])) for number, kind in enumerate(kinds)]
    found: dict[Address, Any] = {}
    unread: dict[Kind, HostError] = {}
    transcript = Transcript(tasks, nonce(), PROBE_CAP)
    lock = OperationLock(shared=fence is None)
    async with aclosing(converse(connection, transcript, lock, fence, failures_only=False)) as events:
        async for event in events:
            if isinstance(event, Ended):
                kind = kinds[event.number]
                try:
                    found |= _parse(connection.host, drivers[kind], groups[kind], event)
                except HostError as error:
                    unread[kind] = error
    return Facts(found, unread)


def _parse(
    host: HostName, driver: Driver[Any, Any], resources: Sequence[Resource], ended: Ended
) -> Mapping[Address, Any]:
    """Turn a probe's results into facts; raises HostError where the probe failed or its answer makes no sense."""
    if ended.fate is not Fate.DONE:
        raise HostError(host, ended.words)
    if any(result.output.endswith(CUT) for result in ended.results):
        raise HostError(host, f"the answer about {driver.noun.kind}s is longer than {PROBE_CAP} bytes")
    try:
        return driver.parse(resources, ended.results)
    except (ValueError, LookupError, TypeError) as error:
        raise HostError(host, f"the answer about {driver.noun.kind}s cannot be understood: {error}") from error


async def converse(
    connection: Connection,
    transcript: Transcript,
    lock: OperationLock,
    fence: Fence | None = None,
    *,
    failures_only: bool | None = None,
) -> AsyncGenerator[Begun | Ended, None]:
    """Send a batch and yield what its output tells, as it comes; a batch without any command is not sent.

    Raises HostUnreachable where the batch was cut short: tasks whose end was not yielded are then unknown. Any other
    HostError means that the host refused the batch as a whole and nothing was begun; so does StateLost, where the host
    has seen a later holder of one of the fence's locks.

    A change is judged by its status, so what succeeds there says nothing unless `failures_only` is False.
    """
    if not any(task.commands for task in transcript.tasks):
        for event in transcript.presume():
            yield event
        return
    text = render(
        transcript.tasks,
        nonce=transcript.nonce,
        lock=lock,
        fence=fence,
        output_cap=transcript.output_cap,
        failures_only=not lock.shared if failures_only is None else failures_only,
    )
    try:
        async with aclosing(connection.run(text)) as lines:
            async for line in lines:
                for event in transcript.feed(line):
                    yield event
    except HostError as error:
        if transcript.fenced is not None:
            raise _lost(connection.host, *transcript.fenced) from error
        if transcript.opened and not isinstance(error, HostUnreachable):
            raise HostUnreachable(error.host, words_of(error)) from error
        raise
    if not transcript.complete:
        raise HostUnreachable(connection.host, "its answer broke off")


def _lost(host: HostName, seen: int, name: str) -> StateLost:
    what = "what slices share" if name.startswith("@") else name
    return StateLost(f"{host} has worked for a later holder of {what}", host=host, seen=seen)
