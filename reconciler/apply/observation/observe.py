"""Observes hosts: runs every driver's probes and surveys in one read-only batch per host, all hosts at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from reconciler.apply.drivers.driver import Driver, Found, Survey, SurveyTarget
from reconciler.apply.transport.batch import (
    CUT,
    PROBE_CAP,
    Batch,
    OperationLock,
    Task,
    TaskEnded,
    TaskStatus,
    count_batches,
)
from reconciler.apply.transport.command import Command, Result
from reconciler.apply.transport.connection import Connection, Connector, run_batch
from reconciler.apply.transport.fence import LIST_FENCES, Fence, parse_fences
from reconciler.errors import HostError
from reconciler.plan.resources import Kind, Resource
from reconciler.spec.models.names import Address, HostName

T = TypeVar("T")

Drivers = Mapping[Kind, Driver[Any, Any]]
"""The driver of each kind."""

ResourceKey = tuple[HostName, Address]
"""Where a resource is. A resource that moves is on two hosts under one address."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What one host's drivers read: a fact for each resource, or the reason why a kind has none."""

    found: Mapping[Address, Any]
    unread: Mapping[Kind, HostError]


@dataclass(frozen=True, slots=True)
class KnownFacts:
    """Facts of one host's resources that were read before an apply, each with the resource that was looked for.

    They hold as long as the host has run only `batches` batches that may have changed something, and nobody changes the
    host by hand. `read_at` is when they were read, as `time.monotonic` counts.
    """

    read_at: float
    batches: int
    found: Mapping[Address, tuple[Resource, Any]]

    def about(self, subjects: Iterable[Resource]) -> dict[Address, Any] | None:
        """Return the facts of these resources, or None if one was not looked for exactly like that."""
        facts = {}
        for subject in subjects:
            looked_for, fact = self.found.get(subject.address, (None, None))
            if looked_for != subject:
                return None
            facts[subject.address] = fact
        return facts


@dataclass(frozen=True, slots=True)
class HostSurvey:
    """All tagged objects of a host, and its fences: which state (by lineage) ever took which locks there.

    Each lock has the highest token that the host has seen. `unread` has the reason for each kind, or the fences, that
    could not be read.
    """

    found: tuple[Found, ...]
    fences: Mapping[str, Mapping[str, int]]
    unread: Mapping[str, HostError]


@dataclass(frozen=True, slots=True)
class Observation:
    """What was read on the hosts.

    `facts` are the drivers' own; `attributes` are plain values by name, None if the resource does not exist. What could
    not be read is in neither: `unread` has the reason for one kind on a host, `unreachable` for a whole host. `surveys`
    has the hosts that were surveyed. `batches` is how many batches that may have changed something had run on a host.
    """

    facts: Mapping[ResourceKey, Any]
    attributes: Mapping[ResourceKey, Mapping[str, Any] | None]
    unread: Mapping[tuple[HostName, Kind], HostError]
    unreachable: Mapping[HostName, HostError]
    surveys: Mapping[HostName, HostSurvey] = field(default_factory=dict)
    batches: Mapping[HostName, int] = field(default_factory=dict)

    def obstacle(self, resource: Resource) -> HostError | None:
        """Return why a resource could not be read, or None if it was read."""
        return self.unreachable.get(resource.host) or self.unread.get((resource.host, resource.kind))


async def observe(
    connector: Connector,
    resources: Iterable[Resource],
    drivers: Drivers,
    surveyed: Iterable[SurveyTarget] = (),
) -> Observation:
    """Probe these resources, at most one of each address on a host, and survey whole hosts."""
    by_host: dict[HostName, list[Resource]] = {}
    for resource in resources:
        by_host.setdefault(resource.host, []).append(resource)
    target = {one.host: one for one in surveyed}

    async def observe_host(host: HostName) -> _HostObservation | HostError:
        try:
            connection = await connector.connect(host)
            return await _observe_host(connection, by_host.get(host, []), drivers, target.get(host), counting=True)
        except HostError as error:
            return error

    hosts = sorted({*by_host, *target})
    results = dict(zip(hosts, await asyncio.gather(*(observe_host(host) for host in hosts)), strict=True))
    read = {host: result for host, result in results.items() if isinstance(result, _HostObservation)}
    facts = {(host, address): fact for host, result in read.items() for address, fact in result.facts.found.items()}
    return Observation(
        facts=facts,
        attributes={
            key: drivers[resource.kind].observed(resource, facts[key])
            for host, group in by_host.items()
            for resource in group
            if (key := (host, resource.address)) in facts
        },
        unread={(host, kind): error for host, result in read.items() for kind, error in result.facts.unread.items()},
        unreachable={host: result for host, result in results.items() if isinstance(result, HostError)},
        surveys={host: result.survey for host, result in read.items() if result.survey is not None},
        batches={host: result.batches for host, result in read.items() if result.batches is not None},
    )


async def read_facts(
    connection: Connection,
    resources: Sequence[Resource],
    drivers: Drivers,
    fence: Fence | None = None,
) -> Facts:
    """Read the facts of one host's resources in one batch; raises HostError if the host cannot be read at all.

    With a `fence`, no older holder changes anything there after the facts are read.
    """
    return (await _observe_host(connection, resources, drivers, fence=fence)).facts


@dataclass(frozen=True, slots=True)
class _HostObservation:
    facts: Facts
    survey: HostSurvey | None
    batches: int | None


async def _observe_host(
    connection: Connection,
    resources: Sequence[Resource],
    drivers: Drivers,
    target: SurveyTarget | None = None,
    fence: Fence | None = None,
    *,
    counting: bool = False,
) -> _HostObservation:
    groups: dict[Kind, list[Resource]] = {}
    for resource in resources:
        groups.setdefault(resource.kind, []).append(resource)
    kinds = sorted(groups)
    surveys = _surveys(drivers) if target else {}
    commands = [drivers[kind].probe(groups[kind]) for kind in kinds]
    commands += [survey.commands for survey in surveys.values()]
    commands += [(LIST_FENCES,)] if target else []
    commands += [(count_batches(OperationLock()),)] if counting else []
    ended = await _run(connection, commands, fence)
    batches = _count(ended.pop()) if counting else None
    found: dict[Address, Any] = {}
    unread: dict[Kind, HostError] = {}
    for kind, result in zip(kinds, ended, strict=False):
        try:
            found |= _parse(connection.host, drivers[kind], groups[kind], result)
        except HostError as error:
            unread[kind] = error
    survey = _surveyed(target, surveys, ended[len(kinds) :]) if target else None
    return _HostObservation(Facts(found, unread), survey, batches)


def _count(ended: TaskEnded) -> int | None:
    """Return how many batches a host has run, or None if it did not say."""
    printed = ended.results[0].output.strip() if ended.results else ""
    return int(printed) if ended.status is TaskStatus.DONE and printed.isdecimal() else None


def _surveys(drivers: Drivers) -> dict[Kind, Survey[Any]]:
    return {kind: survey for kind in sorted(drivers) if (survey := drivers[kind].survey) is not None}


async def _run(connection: Connection, commands: Sequence[tuple[Command, ...]], fence: Fence | None) -> list[TaskEnded]:
    """Run groups of commands in one batch, and return the result of each."""
    tasks = tuple(Task(number, group) for number, group in enumerate(commands))
    batch = Batch(tasks, OperationLock(shared=fence is None), fence, PROBE_CAP)
    ended: dict[int, TaskEnded] = {}
    async with aclosing(run_batch(connection, batch)) as events:
        async for event in events:
            if isinstance(event, TaskEnded):
                ended[event.number] = event
    return [ended[task.number] for task in tasks]


def _surveyed(target: SurveyTarget, surveys: Mapping[Kind, Survey[Any]], ended: Sequence[TaskEnded]) -> HostSurvey:
    found: list[Found] = []
    fences: Mapping[str, Mapping[str, int]] = {}
    unread: dict[str, HostError] = {}
    host = target.host
    for (kind, survey), result in zip(surveys.items(), ended, strict=False):
        try:
            found += _parsed(host, kind, result, partial(_found, target, survey))
        except HostError as error:
            unread[kind] = error
    try:
        fences = _parsed(host, "fence", ended[-1], lambda results: parse_fences(host, results[0]))
    except HostError as error:
        unread["fence"] = error
    return HostSurvey(tuple(found), fences, unread)


def _parse(
    host: HostName, driver: Driver[Any, Any], resources: Sequence[Resource], ended: TaskEnded
) -> Mapping[Address, Any]:
    """Parse a probe's results into facts; raises HostError if the probe failed or its output cannot be parsed."""
    return _parsed(host, driver.noun.kind, ended, partial(driver.parse, resources))


def _found(target: SurveyTarget, survey: Survey[Any], results: Sequence[Result]) -> list[Found]:
    return [*survey.parse(target, results)]


def _parsed(host: HostName, what: str, ended: TaskEnded, read: Callable[[Sequence[Result]], T]) -> T:
    if ended.status is not TaskStatus.DONE:
        raise HostError(host, ended.message)
    if any(result.output.endswith(CUT) for result in ended.results):
        raise HostError(host, f"the output of the probe of {what}s is longer than {PROBE_CAP} bytes")
    try:
        return read(ended.results)
    except (ValueError, LookupError, TypeError) as error:
        raise HostError(host, f"the output of the probe of {what}s cannot be parsed: {error}") from error
