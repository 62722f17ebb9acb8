"""Start, find and end the processes of a lab, known by a mark in their environment; what they run is the caller's.

No process id is ever written down: ids are used again, and a `lab up` may be killed between a start and its record.
The mark is there from the moment a process exists, so the world itself is the record.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.errors import LabError
from reconciler.lab.folder import Folder

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FOLDER_MARK: Final = "RECONCILER_LAB"
_PART_MARK: Final = "RECONCILER_LAB_PART"
_POLL: Final = 0.01  # seconds
_END_WITHIN: Final = 20.0  # seconds; a host with many guests must give back their memory first


@dataclass(frozen=True, slots=True)
class LabProcess:
    """A living process of a lab; `inner_pid` is its id in its own PID namespace, `program` the kernel's name for it."""

    pid: int
    part: str
    inner_pid: int
    program: str


def start(folder: Folder, part: str, argv: Sequence[str], *, listener: socket.socket | None = None) -> None:
    """Start a part of the lab that outlives this command; its standard input is `listener`, or empty.

    `setsid --fork` makes it nobody's child, so that it is reaped by the machine and not by the caller.
    """
    log = folder.log(part)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        subprocess.run(
            ["setsid", "--fork", *argv],
            check=True,
            stdin=subprocess.DEVNULL if listener is None else listener.fileno(),
            stdout=output,
            stderr=output,
            env=_environment(folder, part),
        )


def run(folder: Folder, argv: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a short command of the lab's set-up to its end; marked too, so that `down` ends it if its `up` is killed."""
    return subprocess.run(
        argv, input=text, text=True, capture_output=True, check=False, env=_environment(folder, "setup")
    )


def find(folder: Folder) -> tuple[LabProcess, ...]:
    """Return every living process that carries this lab's mark, by process id."""
    ids = sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return tuple(process for pid in ids if (process := _examine(folder, pid)) is not None)


def end(folder: Folder, part: str | None = None) -> int:
    """Kill the lab's processes, or those of one part, and wait until none is left; return how many there were.

    Raises `LabError` if some will not die.
    """
    ended: set[int] = set()
    deadline = time.monotonic() + _END_WITHIN
    while living := [process for process in find(folder) if part in (None, process.part)]:
        for process in living:
            _kill(folder, process.pid)
            ended.add(process.pid)
        if time.monotonic() > deadline:
            raise LabError(f"process {living[0].pid} of lab {folder.name} does not end", hint="look at it with ps")
        time.sleep(_POLL)
    return len(ended)


def _environment(folder: Folder, part: str) -> dict[str, str]:
    return {"PATH": PATH, "LANG": "C.UTF-8", _FOLDER_MARK: str(folder.path), _PART_MARK: part}


def _examine(folder: Folder, pid: int) -> LabProcess | None:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if f"{_FOLDER_MARK}={folder.path}".encode() not in environment:
            return None
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:  # it ended while we looked, or is a kernel thread
        return None
    prefix = f"{_PART_MARK}=".encode()
    part = next((entry[len(prefix) :].decode() for entry in environment if entry.startswith(prefix)), "")
    return LabProcess(pid, part, int(status["NSpid"].split()[-1]), status["Name"])


def _kill(folder: Folder, pid: int) -> None:
    """Kill this very process: the handle is taken first and the mark read again, so a reused id is never hit."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _examine(folder, pid) is not None:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
