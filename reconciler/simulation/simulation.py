"""A record in memory and model hosts: applies are played there, stopped and gone on from; by whom is others' part.

A stop is a copy of record and hosts at that moment. The stopped run goes on by itself and is forgotten, so that
nothing it does as it ends (no lock released, no apply closed) reaches the copy: the same as if it had been killed. What
hosts were in the middle of goes on behind the operation lock, or is cut off, by choice.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar, TypeVarTuple

from reconciler import workflow
from reconciler.apply.observation.observe import Drivers
from reconciler.apply.transport.connection import Connection, Progress, Source
from reconciler.errors import HostError, HostUnreachable
from reconciler.plan.model import Plan, Step
from reconciler.simulation.drivers import DRIVERS, contents
from reconciler.simulation.hosts import Host, Place, Running, Thing
from reconciler.simulation.script import read_script
from reconciler.spec.models.names import HostName
from reconciler.state.memory import MemoryStore
from reconciler.state.store import ApplyId, Holder, StepResult

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Passing = Callable[[str], None]
"""Told of each moment at which an apply may be stopped, in words."""

HOLDER: Final = Holder(user="rehearsal", host="model", pid=2**30)
"""Who applies here: a number that no process ever has, so that the lock of a stopped run is free to take over."""

_MOMENT: Final = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The whole world at one moment."""

    record: bytes
    hosts: Mapping[HostName, Host]

    def cut(self) -> Checkpoint:
        """Return the scene with all that hosts were in the middle of cut off."""
        return Checkpoint(self.record, {name: replace(host.copy(), running=None) for name, host in self.hosts.items()})

    @property
    def busy(self) -> bool:
        """Whether a host is in the middle of something."""
        return any(host.running for host in self.hosts.values())

    @property
    def print(self) -> Hashable:
        """What two scenes have in common that are the same."""
        return self.record, *((name, host.print) for name, host in self.hosts.items())


@dataclass(slots=True)
class Interruption:
    """A connection that dies after so many commands; the host goes on or not, and answers again or not."""

    after: int
    goes_on: bool
    back: bool


class Simulation:
    """The record and the hosts of one cluster."""

    def __init__(self, cluster: str, hosts: Iterable[str], drivers: Drivers = DRIVERS) -> None:
        self.drivers = drivers
        self.passing: Passing = _ignore
        self.cuts: dict[HostName, Interruption] = {}
        self.store = _Watched(cluster, self)
        self.hosts = {HostName(name): Host() for name in hosts}

    def scene(self) -> Checkpoint:
        """Return the world as it is now."""
        return Checkpoint(self.store.frozen(), {name: host.copy() for name, host in self.hosts.items()})

    def rewind(self, scene: Checkpoint) -> None:
        """Bring the world back to a scene."""
        self.store.thaw(scene.record)
        self.hosts = {name: host.copy() for name, host in scene.hosts.items()}

    def apply(self, inputs: workflow.Inputs, asked: workflow.Asked = workflow.NOTHING_ELSE) -> workflow.ApplyResult:
        """Apply as the command line does, on these hosts; a lost disk is made anew, empty."""

        async def work() -> workflow.ApplyResult:
            return await workflow.apply(
                inputs, self.store, self.edges(), holder=HOLDER, approve=_agree, accept_loss=_agree, asked=asked
            )

        with asyncio.Runner(loop_factory=_Timeless) as runner:
            return runner.run(work())

    def edges(self) -> workflow.Hosts:
        """Return the hosts as an apply gets them, each of which may be at work at once."""
        return workflow.Hosts(
            _Connector(self), len(self.hosts), _ignore, asyncio.Event(), drivers=self.drivers, contents=contents
        )

    def stops(self, inputs: workflow.Inputs, asked: workflow.Asked, wanted: Callable[[int], bool]) -> list[Stop]:
        """Apply, and return those of the moments (counted from 1) that are wanted at which it may be stopped."""
        found: list[Stop] = []
        count = 0

        def passing(words: str) -> None:
            nonlocal count
            count += 1
            if wanted(count):
                found.append(Stop(count, words, self.scene()))

        self.watched(inputs, asked, passing)
        return found

    def watched(self, inputs: workflow.Inputs, asked: workflow.Asked, passing: Passing) -> workflow.ApplyResult:
        """Apply, telling of each moment at which it may be stopped."""
        self.passing = passing
        try:
            return self.apply(inputs, asked)
        finally:
            self.passing = _ignore

    def standing(self) -> dict[tuple[HostName, Place], Thing]:
        """Return all that stands on the hosts, once what still runs there has ended."""
        for host in self.hosts.values():
            host.settle()
        return {(name, place): thing for name, host in self.hosts.items() for place, thing in host.things.items()}


@dataclass(frozen=True, slots=True)
class Stop:
    """A moment at which an apply may be stopped: its number, what had just happened, and the world then."""

    number: int
    words: str
    scene: Checkpoint


def _ignore(_: Any) -> None:
    pass


def _agree(_: Plan) -> bool:
    return True


class _Watched(MemoryStore):
    """The record, telling of the moments before and after each write."""

    def __init__(self, cluster: str, stage: Simulation) -> None:
        super().__init__(cluster, lambda: _MOMENT)
        self._stage = stage

    @property
    def ttl(self) -> timedelta:
        """So long that nobody renews a lock here: one thread alone may use the connection of a record in memory."""
        return timedelta(days=1)

    def begin(self, plan: Plan, holder: Holder, digest: str) -> ApplyId:
        return self._write("the start", lambda: super(_Watched, self).begin(plan, holder, digest))

    def intend(self, apply: ApplyId, steps: Sequence[Step]) -> None:
        self._write(_counted(len(steps), "intent"), lambda: super(_Watched, self).intend(apply, steps))

    def record(self, apply: ApplyId, results: Sequence[StepResult]) -> None:
        self._write(_counted(len(results), "result"), lambda: super(_Watched, self).record(apply, results))

    def finish(self, apply: ApplyId, result: str, skipped: int) -> None:
        self._write("the end", lambda: super(_Watched, self).finish(apply, result, skipped))

    def _write(self, what: str, write: Callable[[], T]) -> T:
        self._stage.passing(f"before writing {what}")
        written = write()
        self._stage.passing(f"after writing {what}")
        return written


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


class _Connector:
    """Opens connections to the model's hosts."""

    def __init__(self, stage: Simulation) -> None:
        self._stage = stage

    async def connect(self, host: HostName) -> Connection:
        if self._stage.hosts[host].down:
            raise HostUnreachable(host, "it refuses connections")
        return _Connection(host, self._stage)

    async def close(self) -> None:
        pass


@dataclass
class _Connection:
    """One model host, connected; nothing is forwarded, as no model driver asks for it."""

    host: HostName
    stage: Simulation

    async def run(self, text: str) -> AsyncGenerator[str, None]:
        script = read_script(text)
        self._reach()
        host = self.stage.hosts[self.host]
        host.settle()
        running = Running(script)
        if not script.shared:
            host.running = running
            self.stage.passing(f"as {self.host} began a batch of {script.size} commands")
        yield f"{script.nonce} open"
        done = 0
        while not running.ended:
            await asyncio.sleep(0)  # hosts work side by side
            self._reach()
            before = host.running
            lines = list(running.step(host.perform))
            done += 1
            if before is not None:
                self.stage.passing(f"as {self.host} was at {done} of a batch of {script.size} commands")
            for line in lines:
                yield line
            self._lose_after_one(host)
        host.running = None
        yield f"{script.nonce} end"

    def _reach(self) -> None:
        if self.stage.hosts[self.host].down:
            raise HostUnreachable(self.host, "the connection was lost")

    def _lose_after_one(self, host: Host) -> None:
        cut = self.stage.cuts.get(self.host)
        if cut is None:
            return
        cut.after -= 1
        if cut.after <= 0:
            del self.stage.cuts[self.host]
            host.down = not cut.back
            if not cut.goes_on:
                host.running = None
            raise HostUnreachable(self.host, "the connection was lost")

    async def put(self, source: Source, path: str, _progress: Progress | None = None, *, private: bool = False) -> None:
        if not (private and isinstance(source, bytes)):
            raise HostError(self.host, f"the model takes stand-ins alone, and {path} is a file")
        for what, content in (("was taking", source[:-1]), ("had taken", source)):
            await asyncio.sleep(0)
            self._reach()
            self.stage.hosts[self.host].take(path, content)
            self.stage.passing(f"as {self.host} {what} {path}")
            self._lose_after_one(self.stage.hosts[self.host])

    def forward(self, path: str) -> AbstractAsyncContextManager[Path]:
        raise HostError(self.host, f"the model has no sockets, and {path} is one")


class _Timeless(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while nothing else is to be done: the same run is the same every time."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Impatient(self._pass))

    def time(self) -> float:
        return self._now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Do at once what was to be done in a thread: the selector would not know that it is waited for."""
        del executor
        done: asyncio.Future[T] = self.create_future()
        done.set_result(func(*args))
        return done

    def _pass(self, seconds: float) -> None:
        self._now += seconds


class _Impatient(selectors.DefaultSelector):
    """Waits a millisecond at most, and has the time go by that was to be waited."""

    def __init__(self, wait: Callable[[float], None]) -> None:
        super().__init__()
        self._wait = wait

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if not timeout or timeout < 0:
            return super().select(timeout)
        found = super().select(min(timeout, 0.001))
        if not found:
            self._wait(timeout)
        return found
