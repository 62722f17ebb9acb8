"""Starts, inspects and removes a lab: a whole cluster in namespaces of this machine.

`up` starts only what is missing, so it also repairs a lab after a host has died or an `up` was killed. `down` ends
every process that has the lab's mark in its environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from reconciler.errors import LabError
from reconciler.lab import cluster_files, logins, network, process, requirements
from reconciler.lab import host as hosts
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
    """The status of one host; `address` is inside the lab, `port` on 127.0.0.1, `pid` its PID 1 on this machine.

    `login_error` says why a login failed, None if it succeeded or was not tried.
    """

    name: str
    address: str
    port: int
    pid: int | None
    up: bool
    login_error: str | None = None


@dataclass(frozen=True, slots=True)
class LabStatus:
    """The status of a lab and its hosts, workers first."""

    name: str
    cluster_file: Path
    hosts: tuple[HostStatus, ...]

    @property
    def up(self) -> bool:
        """Whether every host is up, and no login failed."""
        return all(host.up and host.login_error is None for host in self.hosts)

    @property
    def remedy(self) -> str | None:
        """The command that starts hosts that are down and repairs logins, None if there is nothing to do."""
        return None if self.up else f"reconciler lab up --name {self.name} --workers {len(self.hosts) - 1}"


def up(name: str = "lab", workers: int = 3, *, report: Progress) -> LabInfo:
    """Start the lab with all its hosts, and return the path of its cluster file; safe to run again.

    Hosts that are up keep running; their logins are repaired if they do not work. Raises `LabError` if this machine
    cannot run a lab, if the lab already has more workers than requested, or if a part of it does not start.
    """
    folder = locate(name)
    requirements.check()
    if not 1 <= workers <= MAX_WORKERS:
        raise LabError(f"a lab has 1 to {MAX_WORKERS} workers, not {workers}")
    with locked(folder, report):
        settings = _settle(folder, workers)
        image = guest_image(report)
        cluster_files.write_keys(folder, settings)
        network.start(folder)
        _start_missing(folder, settings, report)
        cluster_files.write_cluster_file(folder, settings, image)
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
    report(f"lab {name} is removed" if existed or ended else f"there is no lab {name}")


def status(name: str = "lab", *, try_logins: bool = False) -> LabStatus:
    """Return the status of every host, and log in to each that is up if wanted; `LabError` if there is no such lab."""
    folder, settings = _existing(name)
    inits = hosts.inits(folder)
    found = [_status_of(host, inits) for host in settings.hosts]
    if try_logins:
        running = [host for host, one in zip(settings.hosts, found, strict=True) if one.up]
        failures = logins.failures(folder, running)
        found = [replace(one, login_error=failures.get(one.name)) for one in found]
    return LabStatus(name, folder.cluster_file, tuple(found))


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
    """Kill a host's PID 1, and with it every process of the host, at once; its disk stays."""
    folder, _ = _member(name, host)
    with locked(folder, _ignore):
        process.end(folder, host)


def plug_in(name: str, host: str) -> None:
    """Start a host again, with its old /var/lib/reconciler and switch database, and everything else new.

    A host that is up is killed first, as by a power cut.
    """
    folder, member = _member(name, host)
    with locked(folder, _ignore):
        _start(folder, [member])


def _ignore(line: str) -> None:
    """Ignore progress messages."""


def _settle(folder: Folder, workers: int) -> Settings:
    """Save the settings of the lab before any part is started; ports that were chosen do not change."""
    saved = folder.load() or Settings(workers)
    if workers < saved.workers:
        raise LabError(
            f"lab {folder.name} has {saved.workers} workers, and {workers} were requested",
            hint=f"remove it first with `reconciler lab down --name {folder.name}`",
        )
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.path.chmod(0o700)
    settings = Settings(workers, dict(saved.ports) | _pick_ports(Settings(workers).names, saved.ports))
    folder.save(settings)
    return settings


def _pick_ports(names: Sequence[str], taken: Mapping[str, int]) -> dict[str, int]:
    """Choose a free port for each host without one; all are held until the last is chosen, so that they differ."""
    with ExitStack() as held:
        new = {name: held.enter_context(logins.listen(None)) for name in names if name not in taken}
        return {name: listener.getsockname()[1] for name, listener in new.items()}


def _start_missing(folder: Folder, settings: Settings, report: Progress) -> None:
    """Start the hosts that are down; connect missing links of hosts that are up, and repair their logins."""
    inits = hosts.inits(folder)
    running = [one for one in settings.hosts if _status_of(one, inits).up]
    for host in running:
        network.connect(folder, host.name, inits[host.name])
    if failures := logins.failures(folder, running):
        report(f"repairing logins to {', '.join(failures)}")
        logins.repair(folder, [host for host in running if host.name in failures], inits)
    missing = [one for one in settings.hosts if one not in running]
    if missing:
        report(f"starting {', '.join(one.name for one in missing)}")
        _start(folder, missing)


def _start(folder: Folder, members: Sequence[Host]) -> None:
    """Start hosts in parallel, and wait until each accepts logins."""
    names = [member.name for member in members]
    for member in members:
        hosts.start(folder, member)
    inits = hosts.wait_until_networked(folder, names)
    for member in members:
        logins.accept(folder, member, inits[member.name])
        network.connect(folder, member.name, inits[member.name])
    hosts.wait_until_ready(folder, names)


def _status_of(host: Host, inits: Mapping[str, int]) -> HostStatus:
    pid = inits.get(host.name)
    return HostStatus(host.name, host.address, host.port, pid, up=pid is not None and hosts.is_ready(pid))


def _existing(name: str) -> tuple[Folder, Settings]:
    folder = locate(name)
    requirements.check_root()
    settings = folder.load()
    if settings is None:
        raise LabError(f"there is no lab {name}", hint=f"create it with `reconciler lab up --name {name}`")
    return folder, settings


def _member(name: str, host: str) -> tuple[Folder, Host]:
    folder, settings = _existing(name)
    for member in settings.hosts:
        if member.name == host:
            return folder, member
    raise LabError(f"lab {name} has no host {host}", hint=f"its hosts are {', '.join(settings.names)}")


def _pid_of(name: str, host: str) -> int:
    folder, member = _member(name, host)
    found = _status_of(member, hosts.inits(folder))
    if found.pid is None or not found.up:
        raise LabError(f"{host} of lab {name} is down", hint=f"start it with `reconciler lab up --name {name}`")
    return found.pid
