"""Starts, finds and ends the processes of a lab, which have a mark in their environment.

No process id is saved: ids are reused, and a `lab up` may be killed before it could save one. The mark exists as soon
as the process does.
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

    `setsid --fork` detaches it, so that the machine's init reaps it and not the caller.
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


def run(
    folder: Folder, argv: Sequence[str], text: str = "", within: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a short set-up command to its end; it has the mark too, so that `down` ends it if its `up` is killed.

    Raises `subprocess.TimeoutExpired` if it takes more than `within` seconds.
    """
    return subprocess.run(
        argv,
        input=text,
        text=True,
        errors="replace",
        capture_output=True,
        check=False,
        env=_environment(folder, "setup"),
        timeout=within,
    )


def find(folder: Folder) -> tuple[LabProcess, ...]:
    """Return every living process with this lab's mark, by process id."""
    ids = sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return tuple(process for pid in ids if (process := _examine(folder, pid)) is not None)


def end(folder: Folder, part: str | None = None, programs: tuple[str, ...] = ("",)) -> int:
    """Kill the lab's processes, or those of one part, and wait until none is left; return how many there were.

    Only programs are killed whose names begin with one of `programs`. Raises `LabError` if a process does not end.
    """
    ended: set[int] = set()
    deadline = time.monotonic() + _END_WITHIN
    while living := [one for one in find(folder) if part in (None, one.part) and one.program.startswith(programs)]:
        for process in living:
            _kill(folder, process.pid)
            ended.add(process.pid)
        if time.monotonic() > deadline:
            raise LabError(f"process {living[0].pid} of lab {folder.name} does not end", hint="inspect it with ps")
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
    except OSError:  # it has ended, or is a kernel thread
        return None
    prefix = f"{_PART_MARK}=".encode()
    part = next((entry[len(prefix) :].decode() for entry in environment if entry.startswith(prefix)), "")
    return LabProcess(pid, part, int(status["NSpid"].split()[-1]), status["Name"])


def _kill(folder: Folder, pid: int) -> None:
    """Kill this process: the handle is opened first and the mark read again, so that a reused id is never killed."""
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
