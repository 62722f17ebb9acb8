"""Starts the hosts of a lab, and waits until they are ready."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from reconciler.errors import LabError
from reconciler.lab import process
from reconciler.lab.folder import Folder, Host

_LAB: Final = Path(__file__).parent
_READY: Final = "run/lab/ready"
_INIT: Final = "tini"
_START_WITHIN: Final = 30.0  # seconds; a host takes about one on an idle machine
_POLL: Final = 0.02  # seconds
_GONE_AFTER: Final = 0.5  # seconds; a program that is just being started has no environment to recognise it by


def start(folder: Folder, host: Host) -> None:
    """Start a host's PID 1, which then waits for its links. An existing disk is used, else an empty one is created."""
    process.end(folder, host.name)
    folder.log(host.name).unlink(missing_ok=True)
    disk = folder.disk(host.name)
    for part in ("reconciler", "openvswitch", "root"):
        (disk / part).mkdir(parents=True, exist_ok=True)
    argv = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--propagation=private", "--"]
    argv += ["sh", str(_LAB / "boot/host.sh"), host.name, str(disk), str(_LAB)]
    process.start(folder, host.name, argv)


def inits(folder: Folder) -> dict[str, int]:
    """Return the PID 1 of every host that has its own network, by host name, as process ids of this machine."""
    return {one.part: one.pid for one in process.find(folder) if one.inner_pid == 1 and one.program == _INIT}


def is_ready(pid: int) -> bool:
    """Return whether the host with this PID 1 has started its switch, so that connections are passed to it."""
    return Path(f"/proc/{pid}/root", _READY).exists()


def inside(pid: int) -> list[str]:
    """Return the command prefix that runs a command inside the host with this PID 1."""
    return ["nsenter", f"--target={pid}", "--mount", "--net", "--pid", "--uts", "--"]


def wait_until_networked(folder: Folder, names: Sequence[str]) -> dict[str, int]:
    """Wait until each host has a network namespace to connect; return their PID 1s by name."""
    _wait(folder, names, lambda found: all(name in found for name in names))
    found = inits(folder)
    return {name: found[name] for name in names}


def wait_until_ready(folder: Folder, names: Sequence[str]) -> None:
    """Wait until each host is ready; raises `LabError` with its last log line if one dies or takes too long."""
    _wait(folder, names, lambda found: all(name in found and is_ready(found[name]) for name in names))


def _wait(folder: Folder, names: Sequence[str], condition: Callable[[dict[str, int]], bool]) -> None:
    begun = time.monotonic()
    seen = dict.fromkeys(names, begun)
    while not condition(inits(folder)):
        now = time.monotonic()
        seen |= {one.part: now for one in process.find(folder) if one.part in seen}
        for name in names:
            if now - seen[name] > _GONE_AFTER:
                raise LabError(f"{name} did not start: {_last_log_line(folder, name)}", hint=_where(folder, name))
        if now - begun > _START_WITHIN:
            slow = ", ".join(names)
            raise LabError(f"{slow} took over {_START_WITHIN:.0f} s to start", hint=_where(folder, names[0]))
        time.sleep(_POLL)


def _last_log_line(folder: Folder, name: str) -> str:
    lines = folder.log(name).read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line), "its log is empty")


def _where(folder: Folder, name: str) -> str:
    return f"its log is {folder.log(name)}; `reconciler lab down --name {folder.name}` removes the lab"
