"""Identifies this process for locks, and detects whether the process that took a lock has ended."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from reconciler.state.store import Holder

_START = 22
"""The field of /proc/PID/stat that holds a process's start, in clock ticks since boot: see proc(5)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A process: its start, its boot and its machine; None where this system does not report it.

    `machine` names the machine and the PID namespace: containers may share the id of their machine, and the processes
    of one are not visible in another.
    """

    process: str | None
    boot: str | None
    machine: str | None


def identify(pid: int) -> Identity:
    """Return what distinguishes process `pid` of this machine from any other, now or later."""
    stat = _stat(pid)
    return Identity(
        process=stat[_START - 1] if stat else None,
        boot=_line("/proc/sys/kernel/random/boot_id"),
        machine=_machine(),
    )


def _machine() -> str | None:
    try:
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return None
    return f"{_line('/etc/machine-id') or ''} {namespace}".strip()


def this_process() -> Holder:
    """Return the user, host and PID of this process, for locks and history."""
    return Holder(user=_user(), host=socket.gethostname(), pid=os.getpid())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def gone(pid: int, was: Identity) -> bool:
    """Whether the process that `was` on this machine has ended; False where that is not certain."""
    here = identify(pid)
    if was.machine != here.machine:
        return False  # another host of the same name, or another container: its processes are not visible here
    if was.boot is not None and here.boot is not None and was.boot != here.boot:
        return True
    if not _exists(pid):
        return True
    return was.process is not None and here.process is not None and was.process != here.process


def _exists(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    stat = _stat(pid)
    return not stat or stat[2] not in ("Z", "X")


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat; the second, the program's name, may contain blanks and parentheses."""
    text = _line(f"/proc/{pid}/stat")
    if text is None:
        return []
    head, _, rest = text.rpartition(")")
    return [*head.split("(", 1), *rest.split()]


def _line(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
