"""Defines what a connection to a host can do: run a batch, copy a file to it or from it, forward a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reconciler.apply.transport.batch import Batch, BatchEvents, TaskEnded, TaskStarted, TaskStatus
from reconciler.errors import HostError
from reconciler.spec.models.names import HostName


@dataclass(frozen=True, slots=True)
class Stream:
    """Content that arrives in pieces, of `size` bytes in all."""

    size: int
    pieces: AsyncIterator[bytes]


Source = Path | bytes | Stream
"""What is copied to a host: a local file, or content that must not be written to one."""

Progress = Callable[[int, int], None]
"""Called with how far an upload is: bytes sent, bytes in all."""


class Connection(Protocol):
    """A connection to one host. Every method raises HostUnreachable if the connection is lost: what ran is unknown."""

    @property
    def host(self) -> HostName:
        """The host's name in the cluster file."""
        ...

    def run(self, batch: Batch) -> BatchEvents:
        """Run a batch as root and yield its events as they come.

        Raises HostUnreachable if the batch was cut short: tasks without an end are then unknown. Any other HostError
        means that the host refused the whole batch and no task started. So does StateLost: the host has seen a later
        holder of one of the fence's locks. So does HostMoved: others have run since `batch.since`.
        """
        ...

    async def put(self, source: Source, path: str, progress: Progress | None = None, *, private: bool = False) -> None:
        """Copy content to the host, atomically: `path` has either its old content or all of the new one.

        With `private`, only root can read it from its first byte on, and only root can enter the folder if that is
        created. Raises HostError if the host cannot store it, OSError if the local file cannot be read.
        """
        ...

    def get(self, path: str) -> AbstractAsyncContextManager[Stream]:
        """Read a file of the host, as root.

        Raises HostError if it cannot be read. Its pieces raise HostUnreachable if the connection is lost.
        """
        ...

    def forward(self, path: str) -> AbstractAsyncContextManager[Path]:
        """Make a socket of the host (a path there, or `localhost:PORT`) reachable as a local socket's path."""
        ...


class Connector(Protocol):
    """Opens connections. One per host is kept and shared."""

    async def connect(self, host: HostName) -> Connection:
        """Return the connection to a host; raises HostUnreachable, HostKeyRejected or LoginRejected."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


def message_of(error: HostError) -> str:
    """Return the message of an error without the host's name, for output that shows the name beside it."""
    return error.summary.removeprefix(f"{error.host}: ")


async def run_batch(connection: Connection, batch: Batch) -> BatchEvents:
    """Run a batch and yield its events; one without command or condition is not sent, and its tasks are done."""
    if batch.size or batch.since is not None:
        events = connection.run(batch)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()
        return
    for task in batch.tasks:
        yield TaskStarted(task.number)
        yield TaskEnded(task.number, TaskStatus.DONE)
