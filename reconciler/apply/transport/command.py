"""Defines commands, uploads and their results as values."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from reconciler.spec.models.names import Address, HostName
from reconciler.spec.models.secret import MASK as MASK  # noqa: PLC0414 - what masks commands is looked for here


@dataclass(frozen=True, slots=True)
class Command:
    """One program and its arguments, run as root on a host; never a string that a shell would parse again.

    `stdin` is fed to it when given. `secret` keeps stdin out of logs and errors. `ok` are the exit statuses that count
    as success.
    """

    argv: tuple[str, ...]
    stdin: str | None = None
    secret: bool = False
    ok: tuple[int, ...] = (0,)

    def __str__(self) -> str:
        """Format it as it would be typed, with secrets masked."""
        line = shlex.join(self.argv)
        if self.stdin is None:
            return line
        return f"{line} <<< {MASK if self.secret else shlex.quote(self.stdin)}"


def script(text: str, *args: str, ok: tuple[int, ...] = (0,)) -> Command:
    """Return a command that runs a constant shell text; what varies is passed as $1, $2, ... and never parsed."""
    return Command(("sh", "-ceu", text, "reconciler", *args), ok=ok)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file with this SHA-256 that must be at `path` on the host; the executor finds the local file."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PrivateUpload:
    """A file that must be at `path`, readable by root only, with content made for the resource at `address`.

    It has no digest here, because a digest would help to guess the content.
    """

    path: str
    address: Address


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on another host."""

    host: HostName
    path: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """A file that must be at `path`, readable by root only, with the content of one on another host."""

    path: str
    source: RemoteFile


Operation = Command | Upload | PrivateUpload | Transfer
"""What drivers return: things to do in this order."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended: its exit status, and what it printed (both streams, capped, control characters escaped)."""

    status: int
    output: str
