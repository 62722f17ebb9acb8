"""Names this process for locks, and tells one that took a lock from a later one; what follows is locks' part."""

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
    """A process: its start, and the boot and the machine it runs on; None where this system does not tell."""

    process: str | None
    boot: str | None
    machine: str | None


def identify(pid: int) -> Identity:
    """Return what tells this machine's process `pid` from any other, now or later."""
    stat = _stat(pid)
    return Identity(
        process=stat[_START - 1] if stat else None,
        boot=_line("/proc/sys/kernel/random/boot_id"),
        machine=_line("/etc/machine-id"),
    )


def this_process() -> Holder:
    """Name who runs this process, for locks and history."""
    return Holder(user=_user(), host=socket.gethostname(), pid=os.getpid())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def gone(pid: int, was: Identity) -> bool:
    """Whether the process that `was` on this machine has ended; False wherever that is not certain."""
    here = identify(pid)
    if was.machine != here.machine:
        return False  # a namesake of that host: its processes cannot be seen from here
    if was.boot is not None and here.boot is not None and was.boot != here.boot:
        return True
    if not _exists(pid):
        return True
    return was.process is not None and here.process is not None and was.process != here.process


def _exists(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    stat = _stat(pid)
    return not stat or stat[2] not in ("Z", "X")


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat; the second, the program's name, may hold blanks and parentheses."""
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
