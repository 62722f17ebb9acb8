"""Performs the steps of a plan on their hosts, one batch per host at a time.

Each host is probed first, unless its facts were read seconds ago and nothing has changed since. The intent of a step
is written before its effect, and its result after that. A step without a result never counts as done: its host is
probed again before anything is retried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, assert_never

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
from reconciler.apply.observation.observe import Drivers, Facts, KnownFacts, read_facts
from reconciler.apply.transport.claim import Claim
from reconciler.apply.transport.command import Operation, RemoteFile
from reconciler.apply.transport.connection import Connection, Connector, message_of
from reconciler.apply.transport.fence import Fence
from reconciler.errors import HostError, HostMoved, HostUnreachable, StateLost
from reconciler.plan.model import Action, Step, StepId
from reconciler.plan.resources import Resource
from reconciler.plan.results import StepResult, StepStatus
from reconciler.spec.models.names import HostName

RECENT: Final = 5.0
"""Seconds for which facts are trusted that were read before an apply: people may change a host by hand meanwhile."""


async def execute(  # noqa: PLR0913 - the edges of the world, each given by name
    steps: Sequence[Step],
    *,
    connector: Connector,
    journal: Journal,
    drivers: Drivers,
    uploads: Mapping[str, Path | RemoteFile],
    parallelism: int,
    observer: Observer,
    stop: asyncio.Event,
    monotonic: Callable[[], float],
    fence: Fence | None = None,
    claims: Mapping[HostName, Claim] | None = None,
    private: Private | None = None,
    known: Mapping[HostName, KnownFacts] | None = None,
) -> ApplyReport:
    """Perform steps in the order of their needs, on at most `parallelism` hosts at once, and report on every one.

    `uploads` maps SHA-256 digests to local files, or to files of hosts. `private` has a function for the secret content
    of each resource, which is called when the content is copied. `claims` says for whom each host works. `known` are
    facts that were read before; old ones are read again. Once `stop` is set, steps in flight are finished and no other
    step starts. When cancelled, the journal has all known results, and the rest as intents. What the journal raises
    ends the apply: no step starts without its intent. If the journal raises StateLost, or a host has seen a later
    holder than `fence` has, the report has that error and the steps that were left.
    """
    started = monotonic()
    edges = _Edges(connector, drivers, Contents(uploads, private or {}, connector), fence, claims or {}, known or {})
    run = _Run(steps, journal, observer, monotonic, edges)
    lost = None
    try:
        await run.drive(parallelism, stop)
    except StateLost as error:
        lost = error
        run.abandon(error)
    report = ApplyReport(run.schedule.results(), monotonic() - started, lost)
    observer(Finished(report))
    return report


@dataclass(frozen=True, slots=True)
class _Edges:
    connector: Connector
    drivers: Drivers
    contents: Contents
    fence: Fence | None
    claims: Mapping[HostName, Claim]
    known: Mapping[HostName, KnownFacts]

    def fence_on(self, host: HostName) -> Fence | None:
        """Return the fence for a host, with the claim on it."""
        return None if self.fence is None else replace(self.fence, claim=self.claims.get(host))


class _Run:
    """One apply: which host does what next, and the facts that were read there."""

    def __init__(
        self, steps: Sequence[Step], journal: Journal, observer: Observer, monotonic: Callable[[], float], edges: _Edges
    ) -> None:
        self.schedule = Schedule(steps, on_ready=self._queue)
        self._tracker = StepTracker(self.schedule, journal, observer, monotonic)
        self._edges = edges
        self._probed: set[HostName] = set()
        self._facts: dict[StepId, Any] = {}
        self._monotonic = monotonic
        self._since: dict[HostName, int] = {}
        self._queued: dict[HostName, None] = {}
        self._turns: dict[HostName, asyncio.Task[None]] = {}
        self._errors: list[BaseException] = []
        self._changed = asyncio.Event()

    async def drive(self, parallelism: int, stop: asyncio.Event) -> None:
        """Give turns to hosts until nothing is left, `stop` is set, or a turn raises something that is not HostError.

        A host gets a turn when a step of it becomes ready, in the order in which that happens.
        """
        for host in self.schedule.hosts():
            self._queue(host)
        writer = asyncio.create_task(self._tracker.keep_writing(), name="writer of results")
        writer.add_done_callback(self._note_error)
        try:
            while True:
                while self._queued and len(self._turns) < max(parallelism, 1) and not (self._errors or stop.is_set()):
                    self._start(next(iter(self._queued)))
                if not self._turns:
                    break
                await self._changed.wait()
                self._changed.clear()
        finally:
            tasks = [*self._turns.values(), writer]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._errors:
            raise self._errors[0]
        await self._tracker.write()

    def abandon(self, error: StateLost) -> None:
        """Report what is in flight as unknown. Another process has the locks, so nothing is written to the state."""
        for host in self._probed:
            for step in self.schedule.in_flight(host):
                for result in self.schedule.end(StepResult(step, StepStatus.UNKNOWN, error.summary)):
                    self._tracker.observer(result)

    def _queue(self, host: HostName) -> None:
        """Note that there is something to do on a host."""
        if host not in self._turns:
            self._queued[host] = None
            self._changed.set()

    def _start(self, host: HostName) -> None:
        del self._queued[host]
        turn = asyncio.create_task(self._turn(host), name=f"turn of {host}")
        self._turns[host] = turn
        turn.add_done_callback(lambda ended: self._end(host, ended))

    def _end(self, host: HostName, turn: asyncio.Task[None]) -> None:
        del self._turns[host]
        self._note_error(turn)
        if self.schedule.has_ready(host):
            self._queue(host)

    def _note_error(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._errors.append(error)
        self._changed.set()

    async def _turn(self, host: HostName) -> None:
        """Do one thing on a host: read the facts of all its steps, or send the batch that is ready."""
        try:
            connection = await self._edges.connector.connect(host)
            if host in self._probed:
                await self._work(connection, self.schedule.ready(host))
                return
            self._probed.add(host)
            steps = self._to_probe(host)
            if self._knows(host, steps):
                await self._work(connection, self.schedule.ready(host))
            else:
                await self._probe(connection, steps, self._tracker.failed)
        except HostError as error:
            self._give_up(host, error)

    def _to_probe(self, host: HostName) -> list[Step]:
        """Return the steps of a host for which facts can be read now: not those that another step makes way for."""
        waiting = (*self.schedule.in_flight(host), *self.schedule.waiting(host))
        return [step for step in waiting if not self.schedule.replacing(step)]

    def _knows(self, host: HostName, steps: Sequence[Step]) -> bool:
        """Take over the facts of steps that were read before the apply, if they are recent and complete.

        Then the first batch is sent on the condition that no other one has run there since.
        """
        known = self._edges.known.get(host)
        if known is None or self._monotonic() - known.read_at > RECENT:
            return False
        facts = known.about(step.subject for step in steps)
        if facts is None:
            return False
        self._facts.update({step.id: facts[step.address] for step in steps})
        self._since[host] = known.batches
        return True

    async def _probe(
        self, connection: Connection, steps: Sequence[Step], otherwise: Callable[[Step, str], None]
    ) -> None:
        """Read the facts of steps, at most one of each address; `otherwise` reports those that cannot be read."""
        if not steps:
            return
        facts = await self._read(connection, [step.subject for step in steps])
        for step in steps:
            if step.address in facts.found:
                self._facts[step.id] = facts.found[step.address]
            else:
                otherwise(step, message_of(facts.unread[step.subject.kind]))

    async def _read(self, connection: Connection, subjects: Sequence[Resource]) -> Facts:
        """Read facts. Reading changes nothing, so it is tried again at once if the connection dies.

        The fence is sent too: after this, the host refuses the batches of earlier holders.
        """
        edges = self._edges
        try:
            return await read_facts(connection, subjects, edges.drivers, edges.fence_on(connection.host))
        except HostUnreachable:
            again = await edges.connector.connect(connection.host)
            return await read_facts(again, subjects, edges.drivers, edges.fence_on(connection.host))

    async def _work(self, connection: Connection, steps: Sequence[Step]) -> None:
        """Send one batch; if it was cut short, find out what it did."""
        await self._probe(connection, [step for step in steps if step.id not in self._facts], self._tracker.failed)
        jobs = self._jobs(steps)
        if not jobs:
            return
        await self._tracker.intend([job.step for job in jobs])
        try:
            await self._perform_first(connection, jobs)
        except HostError as error:
            await self._recover(connection.host, error)

    async def _perform_first(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """Perform jobs. If their facts are out of date, the host refuses them; then read the facts again."""
        host = connection.host
        try:
            await self._perform(connection, jobs, self._since.pop(host, None))
        except HostMoved:
            await self._probe(connection, self._to_probe(host), self._tracker.failed)
            await self._perform(connection, self._jobs(self.schedule.in_flight(host)))
            self.schedule.put_back(self.schedule.in_flight(host))

    async def _recover(self, host: HostName, error: HostError) -> None:
        """Connect and probe again, and perform once more what is not done; if that fails too, the rest is unknown."""
        self._tracker.observer(HostDropped(host, message_of(error)))
        try:
            connection = await self._edges.connector.connect(host)
            await self._probe(connection, self.schedule.in_flight(host), self._tracker.unknown)
            await self._perform(connection, self._jobs(self.schedule.in_flight(host)))
        except HostError as again:
            for step in self.schedule.in_flight(host):
                self._tracker.unknown(step, message_of(again))
            await self._tracker.write()
            self._give_up(host, again)
        self.schedule.put_back(self.schedule.in_flight(host))

    async def _perform(self, connection: Connection, jobs: Sequence[Job], since: int | None = None) -> None:
        edges = self._edges
        fence = edges.fence_on(connection.host)
        await Attempt(connection, self._tracker, edges.contents, fence).perform(jobs, since)

    def _jobs(self, steps: Sequence[Step]) -> list[Job]:
        """Return the jobs of steps. Steps that a driver refuses fail, and steps that need them are left out.

        Files are copied before the batch, so a step with an upload is sent only when all its needs are done.
        """
        sent = {step.id for step in steps}
        jobs: dict[StepId, Job] = {}
        for step in steps:
            needs = sent.intersection(step.needs)
            if self.schedule.ended(step) or not needs <= jobs.keys():
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
        """Fail all steps that wait for a host; other hosts continue."""
        self._tracker.observer(HostLost(host, message_of(error), error.hint))
        for step in self.schedule.waiting(host):
            self._tracker.failed(step, message_of(error))
