"""Performs the steps of a plan: looks first, writes intent before effect, result after, one batch per host at a time.

Which steps may go is schedule.py's, what they run is the drivers', how a host is asked is attempt.py's. What no result
was seen of is never counted as done: the host is looked at again before anything is retried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from reconciler.apply.execution.attempt import Attempt, Contents, Job, Private
from reconciler.apply.execution.events import (
    ApplyReport,
    Finished,
    HostDropped,
    HostLost,
    Observer,
)
from reconciler.apply.execution.journal import Journal
from reconciler.apply.execution.schedule import Schedule
from reconciler.apply.execution.tracker import StepTracker
from reconciler.apply.observation.observe import Drivers, Facts, read_facts
from reconciler.apply.transport.command import Operation
from reconciler.apply.transport.connection import Connection, Connector, message_of
from reconciler.apply.transport.conversation import Nonce, random_nonce
from reconciler.apply.transport.fence import Fence
from reconciler.errors import HostError, HostUnreachable, StateLost
from reconciler.plan.model import Action, Step, StepId
from reconciler.plan.resources import Resource
from reconciler.plan.results import StepResult, StepStatus
from reconciler.spec.models.names import HostName


async def execute(  # noqa: PLR0913 - the edges of the world, each given by name
    steps: Sequence[Step],
    *,
    connector: Connector,
    journal: Journal,
    drivers: Drivers,
    uploads: Mapping[str, Path],
    parallelism: int,
    observer: Observer,
    stop: asyncio.Event,
    monotonic: Callable[[], float],
    fence: Fence | None = None,
    nonce: Nonce = random_nonce,
    private: Private | None = None,
) -> ApplyReport:
    """Perform steps in the order of their needs, on at most `parallelism` hosts at once, and report on every one.

    `uploads` maps SHA-256 digests to local files, `private` says how the secret content of a resource is made, for the
    moment in which it is copied. Once `stop` is set, what is in flight is finished and nothing new is
    begun. When cancelled, what is known is in the journal, the rest stays there as intents. What the journal raises
    ends the apply too: no step is begun that could not be written down. Where that is StateLost, or a host has seen a
    later holder than `fence` tells of, the report says so, and with it what was left.
    """
    started = monotonic()
    schedule = Schedule(steps)
    tracker = StepTracker(schedule, journal, observer, monotonic)
    run = _Run(schedule, tracker, _Edges(connector, drivers, Contents(uploads, private or {}), nonce, fence))
    lost = None
    try:
        await run.drive(parallelism, stop)
        await tracker.write()
    except StateLost as error:
        lost = error
        run.abandon(error)
    report = ApplyReport(schedule.results(), monotonic() - started, lost)
    observer(Finished(report))
    return report


@dataclass(frozen=True, slots=True)
class _Edges:
    connector: Connector
    drivers: Drivers
    contents: Contents
    nonce: Nonce
    fence: Fence | None


class _Run:
    """One apply: which host does what next, and what was read there."""

    def __init__(self, schedule: Schedule, tracker: StepTracker, edges: _Edges) -> None:
        self._schedule = schedule
        self._tracker = tracker
        self._edges = edges
        self._looked: set[HostName] = set()
        self._facts: dict[StepId, Any] = {}

    async def drive(self, parallelism: int, stop: asyncio.Event) -> None:
        """Give every idle host its next turn until nothing is left, `stop` is set, or something of ours broke."""
        turns: dict[asyncio.Task[None], HostName] = {}
        broken: list[BaseException] = []
        try:
            while True:
                if not (stop.is_set() or broken):
                    for host in self._idle(turns.values())[: max(parallelism, 1) - len(turns)]:
                        turns[asyncio.create_task(self._turn(host), name=f"turn of {host}")] = host
                if not turns:
                    break
                ended, _ = await asyncio.wait(turns, return_when=asyncio.FIRST_COMPLETED)
                broken += [error for turn in ended if (error := turn.exception()) is not None]
                turns = {turn: host for turn, host in turns.items() if turn not in ended}
        finally:
            for turn in turns:
                turn.cancel()
            await asyncio.gather(*turns, return_exceptions=True)
        if broken:
            raise broken[0]

    def abandon(self, error: StateLost) -> None:
        """Count what is in flight as unknown; the record is another's, nothing is written there."""
        for host in self._looked:
            for step in self._schedule.in_flight(host):
                for result in self._schedule.end(StepResult(step, StepStatus.UNKNOWN, error.summary)):
                    self._tracker.observer(result)

    def _idle(self, busy: Collection[HostName]) -> list[HostName]:
        return [
            host
            for host in self._schedule.hosts()
            if host not in busy and (host not in self._looked or self._schedule.ready(host))
        ]

    async def _turn(self, host: HostName) -> None:
        """Do one thing on a host: look at all that its steps are about, or send the batch that is ready."""
        try:
            connection = await self._edges.connector.connect(host)
            if host in self._looked:
                await self._work(connection, self._schedule.ready(host))
                return
            self._looked.add(host)
            remade = self._schedule.replacing
            await self._look(
                connection, [step for step in self._schedule.waiting(host) if not remade(step)], self._tracker.failed
            )
        except HostError as error:
            self._give_up(host, error)

    async def _look(
        self, connection: Connection, steps: Sequence[Step], otherwise: Callable[[Step, str], None]
    ) -> None:
        """Read the facts of steps, at most one of each address; those that cannot be read end `otherwise`."""
        if not steps:
            return
        facts = await self._read(connection, [step.subject for step in steps])
        for step in steps:
            if step.address in facts.found:
                self._facts[step.id] = facts.found[step.address]
            else:
                otherwise(step, message_of(facts.unread[step.subject.kind]))

    async def _read(self, connection: Connection, subjects: Sequence[Resource]) -> Facts:
        """Read facts; as that changes nothing, a connection that dies under it is made again at once.

        The fence goes with it: what an earlier holder has sent comes either before the facts are read, or never.
        """
        edges = self._edges
        try:
            return await read_facts(connection, subjects, edges.drivers, edges.nonce, edges.fence)
        except HostUnreachable:
            again = await edges.connector.connect(connection.host)
            return await read_facts(again, subjects, edges.drivers, edges.nonce, edges.fence)

    async def _work(self, connection: Connection, steps: Sequence[Step]) -> None:
        """Send one batch, and look into what it left open."""
        await self._look(connection, [step for step in steps if step.id not in self._facts], self._tracker.failed)
        jobs = self._jobs(steps)
        if not jobs:
            return
        await self._tracker.intend([job.step for job in jobs])
        try:
            await self._perform(connection, jobs)
        except HostError as error:
            await self._recover(connection.host, error)

    async def _recover(self, host: HostName, error: HostError) -> None:
        """Connect again and look: what stands is done, the rest is tried once more; else all of it is unknown."""
        self._tracker.observer(HostDropped(host, message_of(error)))
        try:
            connection = await self._edges.connector.connect(host)
            await self._look(connection, self._schedule.in_flight(host), self._tracker.unknown)
            await self._perform(connection, self._jobs(self._schedule.in_flight(host)))
        except HostError as again:
            for step in self._schedule.in_flight(host):
                self._tracker.unknown(step, message_of(again))
            await self._tracker.write()
            self._give_up(host, again)
        self._schedule.put_back(self._schedule.in_flight(host))

    async def _perform(self, connection: Connection, jobs: Sequence[Job]) -> None:
        edges = self._edges
        await Attempt(connection, self._tracker, edges.contents, edges.nonce, edges.fence).perform(jobs)

    def _jobs(self, steps: Sequence[Step]) -> list[Job]:
        """Ask the drivers what steps take; those that they refuse fail, and what needs them is left out.

        Files are copied before the batch, so a step with one goes only when all its needs are done.
        """
        asked = {step.id for step in steps}
        jobs: dict[StepId, Job] = {}
        for step in steps:
            needs = asked.intersection(step.needs)
            if self._schedule.ended(step) or not needs <= jobs.keys():
                continue
            job = self._job(step)
            if job is not None and not (needs and job.uploads):
                jobs[step.id] = job
        return list(jobs.values())

    def _job(self, step: Step) -> Job | None:
        try:
            return Job(step, self._operations(step))
        except HostError as error:
            self._tracker.failed(step, message_of(error))
            return None

    def _operations(self, step: Step) -> tuple[Operation, ...]:
        driver, fact = self._edges.drivers[step.subject.kind], self._facts[step.id]
        match step.action:
            case Action.DELETE:
                return driver.remove(step.subject, fact)
            case Action.UPDATE:
                return driver.ensure(step.subject, fact, step.before)
            case Action.CREATE | Action.REPLACE:
                return driver.ensure(step.subject, fact, None)
            case _:
                assert_never(step.action)

    def _give_up(self, host: HostName, error: HostError) -> None:
        """Fail all that waits for a host; the rest goes on."""
        self._tracker.observer(HostLost(host, message_of(error), error.hint))
        for step in self._schedule.waiting(host):
            self._tracker.failed(step, message_of(error))
