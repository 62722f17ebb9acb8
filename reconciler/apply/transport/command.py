"""What a host is asked to do, as values: commands, uploads and their results; pure, nothing runs here."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from reconciler.spec.models.names import Address
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
        """Write it as one would type it, with what is secret masked."""
        line = shlex.join(self.argv)
        if self.stdin is None:
            return line
        return f"{line} <<< {MASK if self.secret else shlex.quote(self.stdin)}"


def script(text: str, *args: str, ok: tuple[int, ...] = (0,)) -> Command:
    """Return a command that runs a constant shell text; whatever varies comes in as $1, $2, ... and is never parsed."""
    return Command(("sh", "-ceu", text, "reconciler", *args), ok=ok)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that must stand at `path` on the host with this SHA-256; where it comes from is the caller's knowledge."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PrivateUpload:
    """A file that must stand at `path`, for root's eyes alone, made for the resource at `address` when it is due.

    It has no digest here: whatever is told of its content would help to guess it.
    """

    path: str
    address: Address


Operation = Command | Upload | PrivateUpload
"""What a driver answers with: things to do in this order."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended: its exit status, and what it printed (both streams, capped, control characters escaped)."""

    status: int
    output: str
