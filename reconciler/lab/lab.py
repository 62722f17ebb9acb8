"""Bring up a lab, look at it, and leave nothing of it: a whole cluster in namespaces of this machine.

Level-based: `up` looks at what is there and starts what is missing, so it also heals a lab whose host has died or
whose `up` was killed; `down` ends whatever carries the lab's mark, recorded or not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.errors import LabError
from reconciler.lab import host as hosts
from reconciler.lab import inventory, network, process, requirements
from reconciler.lab.folder import MAX_WORKERS, Folder, Host, Settings, locate, locked
from reconciler.lab.guest import Guest
from reconciler.lab.image import guest_image

_ENVIRONMENT: Final = {"PATH": process.PATH, "HOME": "/root", "USER": "root"}

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LabInfo:
    """A lab that is up: its name, and the cluster file that describes it."""

    name: str
    cluster_file: Path


@dataclass(frozen=True, slots=True)
class HostStatus:
    """How one host is; `address` is inside the lab, `port` on 127.0.0.1, `pid` that of its PID 1 on this machine."""

    name: str
    address: str
    port: int
    pid: int | None
    up: bool


@dataclass(frozen=True, slots=True)
class LabStatus:
    """How a lab is, workers first."""

    name: str
    cluster_file: Path
    hosts: tuple[HostStatus, ...]

    @property
    def up(self) -> bool:
        """Tell whether every host is up."""
        return all(host.up for host in self.hosts)


def up(name: str = "lab", workers: int = 3, *, report: Progress) -> LabInfo:
    """Make the lab be there with all its hosts, and return where its cluster file is; safe to run again.

    Raises `LabError` if this machine cannot carry a lab, if the lab stands with more workers than asked, or if a part
    of it does not start.
    """
    folder = locate(name)
    requirements.check()
    if not 1 <= workers <= MAX_WORKERS:
        raise LabError(f"a lab has 1 to {MAX_WORKERS} workers, not {workers}")
    with locked(folder, report):
        settings = _settle(folder, workers)
        image = guest_image(report)
        inventory.write_keys(folder, settings)
        network.start(folder)
        _start_missing(folder, settings, report)
        inventory.write_cluster_file(folder, settings, image)
    report(f"lab {name} is up: {', '.join(settings.names)}")
    return LabInfo(name, folder.cluster_file)


def down(name: str = "lab", *, report: Progress) -> None:
    """End every process of the lab and remove its files; the cached guest image stays. Safe to run again."""
    folder = locate(name)
    requirements.check_root()
    with locked(folder, report):
        existed = folder.path.exists()
        ended = process.end(folder)
        if existed:
            shutil.rmtree(folder.path)
    report(f"lab {name} is gone" if existed or ended else f"there is no lab {name}")


def status(name: str = "lab") -> LabStatus:
    """Look at every host of the lab; `LabError` if there is no such lab."""
    folder, settings = _existing(name)
    inits = hosts.inits(folder)
    return LabStatus(name, folder.cluster_file, tuple(_look(host, inits) for host in settings.hosts))


def exec_in(name: str, host: str, argv: Sequence[str]) -> int:
    """Run a command inside a host on this terminal and return its exit code; `LabError` if the host is not up."""
    kept = {key: os.environ[key] for key in ("TERM", "LANG", "COLORTERM") if key in os.environ}
    entering = [*hosts.inside(_pid_of(name, host)), *argv]
    return subprocess.run(entering, check=False, env=_ENVIRONMENT | kept).returncode


def run_in(name: str, host: str, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command inside a host and return what it printed and its exit code; `LabError` if the host is not up."""
    entering = [*hosts.inside(_pid_of(name, host)), *argv]
    return subprocess.run(entering, check=False, env=_ENVIRONMENT, text=True, capture_output=True)


def guest_of(name: str, host: str, vm_id: int) -> Guest:
    """Return the guest that runs on a host as this VM id; `LabError` if the host is not up."""
    return Guest(Path(f"/proc/{_pid_of(name, host)}/root/var/lib/reconciler/vms/{vm_id}/serial.sock"))


def pull_plug(name: str, host: str) -> None:
    """Kill a host's PID 1 and with it all that runs there, at once; its disk stays."""
    folder, _ = _member(name, host)
    with locked(folder, _unheard):
        process.end(folder, host)


def plug_in(name: str, host: str) -> None:
    """Start a host again, with /var/lib/reconciler and the switch's database as they were, and all else fresh.

    A host that is up goes down first, as by a power cut.
    """
    folder, member = _member(name, host)
    with locked(folder, _unheard):
        _start(folder, [member])


def _unheard(line: str) -> None:
    """Swallow progress where the caller asked for none."""


def _settle(folder: Folder, workers: int) -> Settings:
    """Record what the lab is to be, before anything of it is started; ports stay as they were picked."""
    recorded = folder.load() or Settings(workers)
    if workers < recorded.workers:
        raise LabError(
            f"lab {folder.name} has {recorded.workers} workers, and {workers} were asked for",
            hint=f"remove it first with `reconciler lab down --name {folder.name}`",
        )
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.path.chmod(0o700)
    settings = Settings(workers, dict(recorded.ports) | _pick_ports(Settings(workers).names, recorded.ports))
    folder.save(settings)
    return settings


def _pick_ports(names: Sequence[str], taken: Mapping[str, int]) -> dict[str, int]:
    """Pick a free port for each host that has none; all are held until the last is picked, so that they differ."""
    with ExitStack() as held:
        new = {name: held.enter_context(hosts.listen(None)) for name in names if name not in taken}
        return {name: listener.getsockname()[1] for name, listener in new.items()}


def _start_missing(folder: Folder, settings: Settings, report: Progress) -> None:
    """Start the hosts that are down, and give those that are up the links they lack."""
    inits = hosts.inits(folder)
    standing = {one.name: inits[one.name] for one in settings.hosts if _look(one, inits).up}
    for name, pid in standing.items():
        network.connect(folder, name, pid)
    missing = [one for one in settings.hosts if one.name not in standing]
    if missing:
        report(f"starting {', '.join(one.name for one in missing)}")
        _start(folder, missing)


def _start(folder: Folder, members: Sequence[Host]) -> None:
    """Start hosts side by side, and wait until people can log in to each."""
    names = [member.name for member in members]
    for member in members:
        hosts.start(folder, member)
    for name, pid in hosts.wait_until_networked(folder, names).items():
        network.connect(folder, name, pid)
    hosts.wait_until_ready(folder, names)


def _look(host: Host, inits: Mapping[str, int]) -> HostStatus:
    pid = inits.get(host.name)
    return HostStatus(host.name, host.address, host.port, pid, up=pid is not None and hosts.is_ready(pid))


def _existing(name: str) -> tuple[Folder, Settings]:
    folder = locate(name)
    requirements.check_root()
    settings = folder.load()
    if settings is None:
        raise LabError(f"there is no lab {name}", hint=f"make it with `reconciler lab up --name {name}`")
    return folder, settings


def _member(name: str, host: str) -> tuple[Folder, Host]:
    folder, settings = _existing(name)
    for member in settings.hosts:
        if member.name == host:
            return folder, member
    raise LabError(f"lab {name} has no host {host}", hint=f"its hosts are {', '.join(settings.names)}")


def _pid_of(name: str, host: str) -> int:
    folder, member = _member(name, host)
    found = _look(member, hosts.inits(folder))
    if found.pid is None or not found.up:
        raise LabError(f"{host} of lab {name} is down", hint=f"start it with `reconciler lab up --name {name}`")
    return found.pid
