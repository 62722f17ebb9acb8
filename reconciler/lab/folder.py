"""Locates a lab's files, reads and writes its settings, and locks the lab for one command at a time."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import platformdirs

from reconciler.errors import LabError
from reconciler.files import SHARED, write_file

NAME_PATTERN: Final = re.compile(r"[a-z][a-z0-9-]{0,20}")
GATEWAY: Final = "gateway"
MAX_WORKERS: Final = 100  # 10.0.10.1 to .100; one machine runs out of memory first


@dataclass(frozen=True, slots=True)
class Host:
    """One host of a lab: its name, its address inside the lab, and its SSH port on the machine's loopback."""

    name: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a lab; `ports` maps host names to SSH ports, which do not change while the lab exists."""

    workers: int
    ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the hosts' names: worker1, worker2, ..., gateway."""
        return (*(f"worker{number}" for number in range(1, self.workers + 1)), GATEWAY)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Return every host, workers first."""
        return tuple(Host(name, address_of(name), self.ports[name]) for name in self.names)


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of one lab: keys, settings, cluster file, and a disk for each host."""

    name: str
    path: Path

    @property
    def settings_file(self) -> Path:
        """Return the path of the settings; the lab exists as soon as this file does."""
        return self.path / "lab.json"

    @property
    def cluster_file(self) -> Path:
        """Return the path of the cluster file."""
        return self.path / "cluster.yaml"

    @property
    def client_key(self) -> Path:
        """Return the path of the private key for every host; the public key is beside it."""
        return self.path / "client_key"

    @property
    def known_hosts(self) -> Path:
        """Return the path of the host keys of the lab, in OpenSSH's format."""
        return self.path / "known_hosts"

    @property
    def pages(self) -> Path:
        """Return the folder that the lab's web server serves."""
        return self.path / "internet"

    def disk(self, host: str) -> Path:
        """Return the folder of a host that survives a power cut."""
        return self.path / "hosts" / host

    def log(self, part: str) -> Path:
        """Return the log of the first programs of a part of the lab."""
        return self.path / "logs" / f"{part}.log"

    def load(self) -> Settings | None:
        """Read the settings, None if there is no such lab; `LabError` if they are damaged."""
        try:
            loaded = json.loads(self.settings_file.read_text())
            return Settings(workers=int(loaded["workers"]), ports=dict(loaded["ports"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise LabError(
                f"the settings of lab {self.name} are damaged: {self.settings_file}",
                hint=f"remove the lab with `reconciler lab down --name {self.name}`",
            ) from error

    def save(self, settings: Settings) -> None:
        """Write the settings atomically."""
        written = json.dumps({"workers": settings.workers, "ports": dict(settings.ports)}, indent=2)
        write_file(self.settings_file, written + "\n", mode=SHARED)


def locate(name: str) -> Folder:
    """Return the folder of the lab of that name, under `$RECONCILER_LAB_DIR` or the platform's state directory."""
    if not NAME_PATTERN.fullmatch(name):
        raise LabError(
            f"{name!r} is not a valid lab name",
            hint="a lab name has 1 to 21 characters of a-z, 0-9 and '-', and begins with a letter",
        )
    chosen = os.environ.get("RECONCILER_LAB_DIR")
    labs = Path(chosen) if chosen else platformdirs.user_state_path("reconciler") / "labs"
    return Folder(name, labs.resolve() / name)


def address_of(host: str) -> str:
    """Return a host's address on the lab's management network, as in the reference cluster."""
    return "10.0.10.254" if host == GATEWAY else f"10.0.10.{host.removeprefix('worker')}"


@contextmanager
def locked(folder: Folder, report: Callable[[str], None]) -> Iterator[None]:
    """Lock the lab against other commands; the lock file is beside the folder, and is removed with the lab."""
    path = folder.path.with_name(f"{folder.name}.lock")
    descriptor = _acquire(path, report)
    try:
        yield
    finally:
        if not folder.path.exists():
            path.unlink(missing_ok=True)
        os.close(descriptor)
        _remove_if_empty(path.parent)


def _acquire(path: Path, report: Callable[[str], None]) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # the last lab here was just removed, and its folder with it
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another command on this lab")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)  # its holder removed the file while we waited: the lock is of no use


def _remove_if_empty(labs: Path) -> None:
    """Remove our empty folders; a folder in use stays."""
    for folder in (labs, labs.parent) if labs.name == "labs" else (labs,):
        try:
            folder.rmdir()
        except OSError:
            return
