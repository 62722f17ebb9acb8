"""What stands on the hosts: every driver's probes and surveys of one host in one read-only batch, all hosts at once.

Nothing is compared here; drift.py does that, and the executor works from the facts.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from reconciler.apply.batch import CUT, Begun, Ended, Fate, OperationLock, Task, Transcript, render
from reconciler.apply.command import Command, Result
from reconciler.apply.connection import Connection, Connector, words_of
from reconciler.apply.drivers.driver import Driver, Found, Premises, Survey
from reconciler.apply.fence import LIST_FENCES, Fence, parse_fences
from reconciler.errors import HostError, HostUnreachable, StateLost
from reconciler.plan.record import lock_words
from reconciler.plan.resources import Kind, Resource
from reconciler.spec.names import Address, HostName

T = TypeVar("T")

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
class Surveyed:
    """All that bears our tag on a host, and the fences: which record (by its lineage) ever took which locks there.

    `unread` says for a kind, or for the fences, why nothing is known.
    """

    found: tuple[Found, ...]
    fences: Mapping[str, frozenset[str]]
    unread: Mapping[str, HostError]


@dataclass(frozen=True, slots=True)
class Observed:
    """What stands on the hosts.

    `facts` are the drivers' own; `attributes` are plain values by name, None where the resource is absent. What could
    not be read is in neither: `unread` says why for one kind on a host, `unreachable` for all of a host. `surveys` are
    of the hosts that were surveyed.
    """

    facts: Mapping[Place, Any]
    attributes: Mapping[Place, Mapping[str, Any] | None]
    unread: Mapping[tuple[HostName, Kind], HostError]
    unreachable: Mapping[HostName, HostError]
    surveys: Mapping[HostName, Surveyed] = field(default_factory=dict)

    def obstacle(self, resource: Resource) -> HostError | None:
        """Return why a resource could not be read, or None where it was."""
        return self.unreachable.get(resource.host) or self.unread.get((resource.host, resource.kind))


async def observe(
    connector: Connector,
    resources: Iterable[Resource],
    drivers: Drivers,
    nonce: Nonce = random_nonce,
    surveyed: Iterable[Premises] = (),
) -> Observed:
    """Read what stands of these resources, at most one of each address on a host, and survey whole hosts."""
    by_host: dict[HostName, list[Resource]] = {}
    for resource in resources:
        by_host.setdefault(resource.host, []).append(resource)
    premises = {one.host: one for one in surveyed}

    async def look(host: HostName) -> _Answer | HostError:
        try:
            connection = await connector.connect(host)
            return await _ask(connection, by_host.get(host, []), drivers, nonce, premises.get(host))
        except HostError as error:
            return error

    hosts = sorted({*by_host, *premises})
    answers = dict(zip(hosts, await asyncio.gather(*(look(host) for host in hosts)), strict=True))
    read = {host: answer for host, answer in answers.items() if isinstance(answer, _Answer)}
    facts = {(host, address): fact for host, answer in read.items() for address, fact in answer.facts.found.items()}
    return Observed(
        facts=facts,
        attributes={
            place: drivers[resource.kind].observed(resource, facts[place])
            for host, group in by_host.items()
            for resource in group
            if (place := (host, resource.address)) in facts
        },
        unread={(host, kind): error for host, answer in read.items() for kind, error in answer.facts.unread.items()},
        unreachable={host: answer for host, answer in answers.items() if isinstance(answer, HostError)},
        surveys={host: answer.survey for host, answer in read.items() if answer.survey is not None},
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
    return (await _ask(connection, resources, drivers, nonce, fence=fence)).facts


@dataclass(frozen=True, slots=True)
class _Answer:
    facts: Facts
    survey: Surveyed | None


async def _ask(
    connection: Connection,
    resources: Sequence[Resource],
    drivers: Drivers,
    nonce: Nonce,
    premises: Premises | None = None,
    fence: Fence | None = None,
) -> _Answer:
    groups: dict[Kind, list[Resource]] = {}
    for resource in resources:
        groups.setdefault(resource.kind, []).append(resource)
    kinds = sorted(groups)
    surveys = _surveys(drivers) if premises else {}
    commands = [drivers[kind].probe(groups[kind]) for kind in kinds]
    commands += [survey.commands for survey in surveys.values()]
    commands += [(LIST_FENCES,)] if premises else []
    ended = await _run(connection, commands, nonce, fence)
    found: dict[Address, Any] = {}
    unread: dict[Kind, HostError] = {}
    for kind, answer in zip(kinds, ended, strict=False):
        try:
            found |= _parse(connection.host, drivers[kind], groups[kind], answer)
        except HostError as error:
            unread[kind] = error
    survey = _surveyed(premises, surveys, ended[len(kinds) :]) if premises else None
    return _Answer(Facts(found, unread), survey)


def _surveys(drivers: Drivers) -> dict[Kind, Survey[Any]]:
    return {kind: survey for kind in sorted(drivers) if (survey := drivers[kind].survey) is not None}


async def _run(
    connection: Connection, commands: Sequence[tuple[Command, ...]], nonce: Nonce, fence: Fence | None
) -> list[Ended]:
    """Run groups of commands in one batch, and return how each ended."""
    tasks = [Task(number, group) for number, group in enumerate(commands)]
    transcript = Transcript(tasks, nonce(), PROBE_CAP)
    ended: dict[int, Ended] = {}
    lock = OperationLock(shared=fence is None)
    async with aclosing(converse(connection, transcript, lock, fence)) as events:
        async for event in events:
            if isinstance(event, Ended):
                ended[event.number] = event
    return [ended[task.number] for task in tasks]


def _surveyed(premises: Premises, surveys: Mapping[Kind, Survey[Any]], ended: Sequence[Ended]) -> Surveyed:
    found: list[Found] = []
    fences: Mapping[str, frozenset[str]] = {}
    unread: dict[str, HostError] = {}
    host = premises.host
    for (kind, survey), answer in zip(surveys.items(), ended, strict=False):
        try:
            found += _understood(host, kind, answer, partial(_found, premises, survey))
        except HostError as error:
            unread[kind] = error
    try:
        fences = _understood(host, "fence", ended[-1], lambda results: parse_fences(host, results[0]))
    except HostError as error:
        unread["fence"] = error
    return Surveyed(tuple(found), fences, unread)


def _parse(
    host: HostName, driver: Driver[Any, Any], resources: Sequence[Resource], ended: Ended
) -> Mapping[Address, Any]:
    """Turn a probe's results into facts; raises HostError where the probe failed or its answer makes no sense."""
    return _understood(host, driver.noun.kind, ended, partial(driver.parse, resources))


def _found(premises: Premises, survey: Survey[Any], results: Sequence[Result]) -> list[Found]:
    return [*survey.parse(premises, results)]


def _understood(host: HostName, what: str, ended: Ended, read: Callable[[Sequence[Result]], T]) -> T:
    if ended.fate is not Fate.DONE:
        raise HostError(host, ended.words)
    if any(result.output.endswith(CUT) for result in ended.results):
        raise HostError(host, f"the answer about {what}s is longer than {PROBE_CAP} bytes")
    try:
        return read(ended.results)
    except (ValueError, LookupError, TypeError) as error:
        raise HostError(host, f"the answer about {what}s cannot be understood: {error}") from error


async def converse(
    connection: Connection,
    transcript: Transcript,
    lock: OperationLock,
    fence: Fence | None = None,
    *,
    failures_only: bool = False,
) -> AsyncGenerator[Begun | Ended, None]:
    """Send a batch and yield what its output tells, as it comes; a batch without any command is not sent.

    Raises HostUnreachable where the batch was cut short: tasks whose end was not yielded are then unknown. Any other
    HostError means that the host refused the batch as a whole and nothing was begun; so does StateLost, where the host
    has seen a later holder of one of the fence's locks.

    With `failures_only`, what succeeds is not read back: a change is judged by its status.
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
        failures_only=failures_only,
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
    return StateLost(f"{host} has worked for a later holder of {lock_words(name)}", host=host, seen=seen)
