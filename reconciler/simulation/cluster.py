"""A simulated cluster: the state in memory and model hosts, which can be copied and restored at any point of an apply.

A checkpoint is a copy of state and hosts. The apply that was running continues and its later effects are discarded, so
that nothing it does at its end (releasing locks, closing the apply) is in the copy, as if it had been killed. Batches
that hosts were running either continue behind the operation lock or are cut off, by choice.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple

from reconciler.apply.observation.observe import Drivers
from reconciler.apply.transport.batch import Batch, BatchEvents
from reconciler.apply.transport.connection import Connection, Connector, Progress, Source, Stream
from reconciler.errors import HostError, HostMoved, HostUnreachable
from reconciler.simulation.drivers import DRIVERS
from reconciler.simulation.hosts import Host, HostObject, ObjectName, Running
from reconciler.spec.models.names import HostName
from reconciler.state.memory import MemoryStore
from reconciler.state.store import Holder, StateStore

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
OnPoint = Callable[[str], None]
"""Called at each interruption point, with a description of it."""

HOLDER: Final = Holder(user="simulation", host="model", pid=2**30)
"""The holder of locks here; no process has this id, so that the lock of a stopped apply can be taken over."""

NOW: Final = datetime(2000, 1, 1, tzinfo=UTC)
TTL: Final = timedelta(days=1)
"""A lease so long that no lock is renewed: time does not pass in the state."""


class CopiedStore(StateStore, Protocol):
    """A store of which the whole state can be copied and restored."""

    def image(self) -> Hashable:
        """Return the whole state as it is now, with its locks; equal states may have equal images."""
        ...

    def restore(self, image: Any) -> None:
        """Set the whole state back to an image."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state and all hosts at one point."""

    state: Hashable
    hosts: Mapping[HostName, Host]

    def cut(self) -> Checkpoint:
        """Return the same checkpoint without the batches that hosts are running."""
        return Checkpoint(self.state, {name: replace(host.copy(), running=None) for name, host in self.hosts.items()})

    def settled(self) -> Checkpoint:
        """Return the same checkpoint after every host has finished the batch that it is running.

        An apply cannot tell the two apart: the operation lock makes its first batch on a host wait for the running one.
        """
        hosts = {name: host.copy() for name, host in self.hosts.items()}
        for host in hosts.values():
            host.settle()
        return Checkpoint(self.state, hosts)

    @property
    def busy(self) -> bool:
        """Whether a host is running a batch."""
        return any(host.running for host in self.hosts.values())

    @property
    def fingerprint(self) -> Hashable:
        """A value that equal checkpoints share."""
        return self.state, *((name, host.fingerprint) for name, host in self.hosts.items())


@dataclass(slots=True)
class Interruption:
    """A connection that is lost after some commands; the host may go on with its batch, and may answer again."""

    after: int
    goes_on: bool
    back: bool


class SimulatedCluster:
    """The state and the hosts of one cluster, in memory."""

    def __init__(
        self, hosts: Iterable[str], drivers: Drivers = DRIVERS, store: Callable[[OnPoint], CopiedStore] | None = None
    ) -> None:
        self.drivers = drivers
        self.on_point: OnPoint = ignore
        self.cuts: dict[HostName, Interruption] = {}
        self.store = (store or _memory)(self._point)
        self.hosts = {HostName(name): Host() for name in hosts}

    def _point(self, description: str) -> None:
        self.on_point(description)

    def checkpoint(self) -> Checkpoint:
        """Return a copy of the state and the hosts."""
        return Checkpoint(self.store.image(), {name: host.copy() for name, host in self.hosts.items()})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Set the state and the hosts back to a checkpoint."""
        self.store.restore(checkpoint.state)
        self.hosts = {name: host.copy() for name, host in checkpoint.hosts.items()}

    def connector(self) -> Connector:
        """Return a connector to the model hosts."""
        return _Connector(self)

    def objects(self) -> dict[tuple[HostName, ObjectName], HostObject]:
        """Return every object on the hosts, after the batches that still run there have ended."""
        for host in self.hosts.values():
            host.settle()
        return {(host, name): found for host, model in self.hosts.items() for name, found in model.objects.items()}


def _memory(on_write: OnPoint) -> CopiedStore:
    return MemoryStore(lambda: NOW, ttl=TTL, on_write=on_write)


def ignore(_: Any) -> None:
    """Do nothing at an interruption point."""


class _Connector:
    """Opens connections to the model's hosts."""

    def __init__(self, simulated: SimulatedCluster) -> None:
        self._simulated = simulated

    async def connect(self, host: HostName) -> Connection:
        if self._simulated.hosts[host].down:
            raise HostUnreachable(host, "it refuses connections")
        return _Connection(host, self._simulated)

    async def close(self) -> None:
        pass


@dataclass
class _Connection:
    """A connection to one model host."""

    host: HostName
    simulated: SimulatedCluster

    async def run(self, batch: Batch) -> BatchEvents:
        self._reach()
        host = self.simulated.hosts[self.host]
        host.settle()
        running = Running(batch)
        if not batch.lock.shared:
            host.batches += 1
            if batch.since is not None and host.batches != batch.since + 1:
                raise HostMoved(self.host, "other operations have run here meanwhile")
            host.running = running
            self.simulated.on_point(f"when {self.host} had begun a batch of {batch.size} commands")
        done = 0
        while not running.ended:
            await asyncio.sleep(0)  # hosts work in parallel
            self._reach()
            before = host.running
            events = list(running.step(host.perform))
            done += 1
            if before is not None:
                self.simulated.on_point(f"when {self.host} was at command {done} of {batch.size}")
            for event in events:
                yield event
            self._lose_after_one(host)
        host.running = None

    def _reach(self) -> None:
        if self.simulated.hosts[self.host].down:
            raise HostUnreachable(self.host, "the connection was lost")

    def _lose_after_one(self, host: Host) -> None:
        cut = self.simulated.cuts.get(self.host)
        if cut is None:
            return
        cut.after -= 1
        if cut.after <= 0:
            del self.simulated.cuts[self.host]
            host.down = not cut.back
            if not cut.goes_on:
                host.running = None
            raise HostUnreachable(self.host, "the connection was lost")

    async def put(self, source: Source, path: str, _progress: Progress | None = None, *, private: bool = False) -> None:
        if not private or isinstance(source, Path):
            raise HostError(self.host, f"the model accepts only placeholder contents, and {path} is a file")
        if isinstance(source, Stream):
            source = b"".join([piece async for piece in source.pieces])
        for what, content in (("was receiving", source[:-1]), ("had received", source)):
            await asyncio.sleep(0)
            self._reach()
            self.simulated.hosts[self.host].receive(path, content)
            self.simulated.on_point(f"when {self.host} {what} {path}")
            self._lose_after_one(self.simulated.hosts[self.host])

    @asynccontextmanager
    async def get(self, path: str) -> AsyncIterator[Stream]:
        self._reach()
        found = self.simulated.hosts[self.host].objects.get(path)
        if found is None or not found.complete:
            raise HostError(self.host, f"there is no {path}")
        yield Stream(len(found.data), self._pieces(found.data))

    async def _pieces(self, data: bytes) -> AsyncIterator[bytes]:
        await asyncio.sleep(0)
        self._reach()
        yield data

    def forward(self, path: str) -> AbstractAsyncContextManager[Path]:
        raise HostError(self.host, f"the model has no sockets, so {path} cannot be forwarded")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock advances only when nothing is ready to run, so that every run is the same."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_VirtualSelector(self._advance))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run the function at once instead of in a thread, because the selector would not wait for the thread."""
        del executor
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - as in a thread, whatever it raises is raised where it is awaited
            done.set_exception(error)
        return done

    def _advance(self, seconds: float) -> None:
        self._now += seconds


class _VirtualSelector(selectors.DefaultSelector):
    """Waits a millisecond at most, and advances the clock by the whole timeout."""

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
