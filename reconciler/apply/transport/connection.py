"""The seam to a host: run a batch, put a file, forward a socket; ssh.py is one side of it, tests have others."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from reconciler.errors import HostError
from reconciler.spec.models.names import HostName

Source = Path | bytes
"""What is put on a host: a local file, or a content that must not stand in one."""

Progress = Callable[[int, int], None]
"""Told how far an upload is: bytes sent, bytes in all."""


class Connection(Protocol):
    """One host, connected. Every method raises HostUnreachable when the connection is lost: what ran is unknown."""

    @property
    def host(self) -> HostName:
        """The host's name in the cluster file."""
        ...

    def run(self, text: str) -> AsyncGenerator[str, None]:
        """Feed a shell script to a root shell and yield its output line by line, without newlines.

        The iterator ends when the remote shell has exited with status 0, and raises HostError with the shell's last
        words where it ended otherwise; the script's own end marker tells whether it ran to its end.
        """
        ...

    async def put(self, source: Source, path: str, progress: Progress | None = None, *, private: bool = False) -> None:
        """Copy a local file to the host, atomically: `path` holds either what it held before or all of the file.

        With `private` it is root's alone there from its first byte on, and so is the folder if it must be made.
        Raises HostError where the host cannot take it, OSError where the local file cannot be read.
        """
        ...

    def forward(self, path: str) -> AbstractAsyncContextManager[Path]:
        """Make a socket of the host (a path there, or `localhost:PORT`) reachable as a local socket's path."""
        ...


class Connector(Protocol):
    """Opens connections; one per host is kept and shared by all who ask."""

    async def connect(self, host: HostName) -> Connection:
        """Return the host's connection; raises HostUnreachable, HostKeyRejected or LoginRejected."""
        ...

    async def close(self) -> None:
        """End every connection."""
        ...


def message_of(error: HostError) -> str:
    """Return what went wrong without the host's name, where that stands beside it."""
    return error.summary.removeprefix(f"{error.host}: ")
