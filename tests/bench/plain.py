"""Collects the commands that drivers ask for, and runs them as plain shell scripts on all hosts at once."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from reconciler import lab as labs
from reconciler.apply.drivers import registry, vm
from reconciler.apply.drivers.driver import Driver
from reconciler.apply.transport.command import Command, Operation
from reconciler.lab import host as lab_host
from reconciler.lab.folder import locate
from reconciler.plan.resources import Resource, Vm
from reconciler.spec.models.names import HostName

Commands = dict[HostName, list[Command]]
_FOLDER = "/var/lib/reconciler"


@contextmanager
def collected(commands: Commands) -> Iterator[None]:
    """In this context, guests start paused, which takes 30 MB each, and the commands for each host are collected."""
    drivers = dict(registry.DRIVERS)
    for driver in (drivers | {Vm.kind: replace(vm.DRIVER, ensure=_paused)}).values():
        registry.DRIVERS.register(replace(driver, ensure=_collecting(driver, commands)))
    try:
        yield
    finally:
        for driver in drivers.values():
            registry.DRIVERS.register(driver)


def _paused(resource: Vm, fact: vm.VmFact, before: Vm | None) -> tuple[Operation, ...]:
    """Ask for what the driver asks for, with QEMU's `-S`: do not start the guest's processors."""
    asked = [operation for operation in vm.ensure(resource, fact, before) if isinstance(operation, Command)]
    return tuple(
        replace(command, argv=(*command.argv, "-S")) if "-pidfile" in command.argv else command for command in asked
    )


def _collecting(driver: Driver[Any, Any], commands: Commands) -> Callable[[Any, Any, Any], tuple[Operation, ...]]:
    def ensure(resource: Resource, fact: Any, before: Resource | None) -> tuple[Operation, ...]:
        asked = driver.ensure(resource, fact, before)
        commands.setdefault(resource.host, []).extend(each for each in asked if isinstance(each, Command))
        return asked

    return ensure


def run_plainly(lab: labs.LabInfo, commands: Mapping[HostName, Sequence[Command]]) -> float:
    """Run each host's commands as one script inside it, all hosts at once; returns the seconds until the last ends."""
    pids = {host.name: host.pid for host in labs.status(lab.name).hosts}
    scripts = {host: _write(lab, host, asked) for host, asked in commands.items() if asked}
    started = perf_counter()
    running = [
        subprocess.Popen(
            [*lab_host.inside(pids[host] or 0), "sh", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        for host, script in scripts.items()
    ]
    ended = [process.wait() for process in running]
    seconds = perf_counter() - started
    for host in scripts:
        _script(lab, host).unlink()
    if any(ended):
        raise RuntimeError(f"the plain scripts ended with {ended}")
    return seconds


def _write(lab: labs.LabInfo, host: HostName, commands: Sequence[Command]) -> str:
    """Write a script to a host's disk; return its path there."""
    path = _script(lab, host)
    path.write_text("set -e\n" + "".join(_line(command) for command in commands))
    return f"{_FOLDER}/{path.name}"


def _script(lab: labs.LabInfo, host: HostName) -> Path:
    disk: Path = locate(lab.name).disk(host)
    return disk / "reconciler" / "plain.sh"


def _line(command: Command) -> str:
    line = shlex.join(command.argv)
    line = f"{line} < /dev/null" if command.stdin is None else f"printf %s {shlex.quote(command.stdin)} | {line}"
    accepted = "|".join(map(str, command.ok))
    return f"{line} || case $? in {accepted}) ;; *) exit 1 ;; esac\n"
