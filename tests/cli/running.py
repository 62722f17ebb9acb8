"""What a run of the command line is, and what it leaves."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

PROGRAM = str(Path(sys.executable).with_name("reconciler"))
PATIENCE = 60.0  # seconds; what is waited for takes one or two, on a busy machine many more
"""Seconds to wait for a prompt."""


@dataclass(frozen=True)
class Done:
    """What one run left; on a terminal, `out` holds both streams."""

    code: int
    out: str
    err: str = ""

    @property
    def data(self) -> Any:
        """What stands on stdout, which must be one JSON document."""
        return json.loads(self.out)


class Cli(Protocol):
    """Runs the command line once."""

    def __call__(self, *arguments: str) -> Done:
        """Return how it ended and what it printed."""
        ...


class Write(Protocol):
    """Writes a file below the folder."""

    def __call__(self, path: str, text: str) -> Path:
        """Return the file's path."""
        ...


def plain(text: str) -> str:
    """Take colours and cursor movements away."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


@dataclass(frozen=True)
class Asking:
    """A run on a terminal that waits for keys, and what it has said so far."""

    process: subprocess.Popen[bytes]
    terminal: int
    said: str

    def answer(self, keys: bytes) -> Done:
        """Type keys, and wait for its end."""
        os.write(self.terminal, keys)
        said = self.said + _read(self.terminal)
        return Done(self.process.wait(PATIENCE), said.replace("\r\n", "\n"))


@contextmanager
def asking(arguments: Sequence[str], until: str) -> Iterator[Asking]:
    """Run in a session of its own on a terminal, so that Ctrl-C reaches it, until a text is printed; then kill it."""
    ours, theirs = pty.openpty()
    argv = ["setsid", "--ctty", PROGRAM, *arguments]
    process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        yield Asking(process, ours, _read(ours, until))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(ours)


@contextmanager
def answering(keys: bytes) -> Iterator[None]:
    """Make standard input a terminal on which keys were typed, for a run of the command line in this process."""
    ours, theirs = pty.openpty()
    os.write(ours, keys)
    before = sys.stdin
    try:
        with os.fdopen(theirs) as sys.stdin:
            yield
    finally:
        sys.stdin = before
        os.close(ours)


def on_terminal(arguments: Sequence[str], *, until: str = "", keys: bytes = b"") -> Done:
    """Run on a terminal to the end; once `until` is printed, type `keys`."""
    with asking(arguments, until) as run:
        return run.answer(keys)


def _read(terminal: int, until: str | None = None) -> str:
    """Read up to a text, to the end where None is given; the end of a pseudo-terminal is an error of its own."""
    said, deadline = "", time.monotonic() + PATIENCE
    while until is None or until not in said:
        if not select.select([terminal], [], [], max(deadline - time.monotonic(), 0))[0]:
            msg = f"{until!r} did not come, but: {said}"
            raise TimeoutError(msg)
        try:
            chunk = os.read(terminal, 4096)
        except OSError:
            break
        said += chunk.decode()
        if not chunk:
            break
    return said
