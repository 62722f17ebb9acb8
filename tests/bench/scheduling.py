"""Measures what the executor itself costs: steps on hosts in memory, which answer at once and have nothing to do."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from reconciler.apply.drivers.driver import Driver
from reconciler.apply.execution.events import ApplyReport
from reconciler.apply.execution.executor import execute
from reconciler.apply.transport.connection import Connection
from reconciler.plan.model import Action, Step, StepId
from reconciler.plan.resources import Kind, Resource, noun
from reconciler.plan.results import StepResult
from reconciler.spec.models.names import Address, HostName
from tests.bench.figures import Figure

HOSTS, STEPS = 1000, 30


@noun
class Nothing(Resource):
    """A resource that is always as it should be."""

    kind: ClassVar[Kind] = Kind("nothing")


DRIVERS: Mapping[Kind, Driver[Any, Any]] = {
    Nothing.kind: Driver(
        Nothing,
        probe=lambda _: (),
        parse=lambda resources, _: dict.fromkeys(resource.address for resource in resources),
        ensure=lambda *_: (),
        remove=lambda *_: (),
        observed=lambda *_: {},
    )
}


@dataclass(frozen=True, slots=True)
class MemoryHost:
    """A host that is asked for nothing."""

    host: HostName


class MemoryHosts:
    """Connects to hosts in memory."""

    async def connect(self, host: HostName) -> Connection:
        return cast("Connection", MemoryHost(host))

    async def close(self) -> None:
        pass


class NoJournal:
    """Forgets what is written to it."""

    async def intend(self, steps: Sequence[Step]) -> None:
        pass

    async def record(self, results: Sequence[StepResult]) -> None:
        pass


def make_steps(hosts: int, count: int) -> list[Step]:
    """Return a chain of steps on each host, the first step of which waits for that of the host before."""
    steps: list[Step] = []
    for host in range(hosts):
        for number in range(count):
            here = len(steps) + 1
            resource = Nothing(
                address=Address(f"nothing/{host}/{number}"), slice=None, host=HostName(f"worker{host:04}")
            )
            need = here - 1 if number else here - count
            needs = (StepId(need),) if need > 0 else ()
            steps.append(Step(StepId(here), Action.CREATE, resource.address, resource.host, None, resource, needs))
    return steps


async def perform(steps: Sequence[Step]) -> ApplyReport:
    """Perform steps on hosts in memory."""
    return await execute(
        steps,
        connector=MemoryHosts(),
        journal=NoJournal(),
        drivers=DRIVERS,
        uploads={},
        parallelism=10,
        observer=lambda _: None,
        stop=asyncio.Event(),
        monotonic=time.monotonic,
    )


def measure(hosts: int = HOSTS, count: int = STEPS) -> float:
    """Return the CPU seconds that all steps take."""
    steps = make_steps(hosts, count)
    begun = time.process_time()
    report = asyncio.run(perform(steps))
    seconds = time.process_time() - begun
    assert report.ok, "a step of the bench was not done"
    return seconds


def figures() -> list[Figure]:
    """Measure many steps on many hosts."""
    return [Figure(f"executor alone, {HOSTS} hosts x {STEPS} steps", measure(), "s", 0.5, note="seconds of CPU")]


if __name__ == "__main__":
    sys.stdout.write(f"{HOSTS} hosts x {STEPS} steps: {measure():.2f} s of CPU\n")
