"""An apply that is killed at any boundary loses nothing: one more apply gives the same result as without the kill.

A slice is created, changed and destroyed, each time killed once before or after every write to the state and before
every batch, one boundary after the other until the command comes to its end alive.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count, repeat
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler.plan.snapshot import StateSnapshot
from reconciler.state.copies import copies_folder
from reconciler.state.sql.store import open_store
from tests.conftest import Tell
from tests.lab.census import Census, census, settled
from tests.lab.site import Site

pytestmark = pytest.mark.lab

PARTS = ("create", "change", "destroy")

_STOPPED = Path(__file__).with_name("stopped.py")
_PATIENCE = 120.0  # seconds; a run takes one or two

FIRST = """\
version: 1
name: life
owner: admin
defaults: {flavor: blank}
vms:
  web: {internet: true}
  db: {interfaces: 2}
  old: {}
links:
  - [web:eth1, db:eth1]
  - [web:eth2, old:eth1]
"""

# A VM less, another more, memory changed, a link gone, two new ones: of each kind of change one.
SECOND = """\
version: 1
name: life
owner: admin
defaults: {flavor: blank}
vms:
  web: {internet: true}
  db: {flavor: larger, interfaces: 2}
  new: {internet: true}
links:
  - [web:eth1, db:eth1]
  - {endpoints: [web:eth2, new:eth1], gateway: false, dhcp: false}
  - [db:eth2, new:eth2]
"""


@dataclass(frozen=True)
class Part:
    """A part of the slice's life: the command that brings it about, and how all must be afterwards."""

    name: str
    command: tuple[str, ...]
    hosts: Census
    state: StateSnapshot


def test_killed_at_every_boundary(own_site: Callable[..., Site], tmp_path: Path, tell: Tell) -> None:
    """Two labs share the work, one for odd boundaries and one for even ones."""
    sites = [blank(replace(own_site(), folder=folder)) for folder in (tmp_path / "odd", tmp_path / "even")]
    with ThreadPoolExecutor(len(sites)) as pool:
        halves = list(pool.map(live, sites, range(1, 1 + len(sites)), repeat(len(sites))))
    killed = {name: sum(half[name] for half in halves) for name in PARTS}
    # Two for the locks, two each for begin and finish, and three at least for each of a host's batches.
    assert all(many >= 20 for many in killed.values()), killed
    tell(f"killed at {sum(killed.values())} boundaries on the lab: {killed}")


class Runs:
    """Runs the command line in processes that begin with all loaded, and kills them where it is told to."""

    def __init__(self, site: Site, server: subprocess.Popen[str]) -> None:
        self._told = site.folder / "told"
        self._server = server

    def run(self, part: Part, boundary: int = 0) -> tuple[int, str]:
        """Run a part's command, up to a boundary where one is given; return how it ended and what it printed."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([boundary, str(self._told), part.command]) + "\n")
        self._server.stdin.flush()
        assert select.select([self._server.stdout], [], [], _PATIENCE)[0], f"{part.name} {boundary} does not end"
        return int(self._server.stdout.readline()), self._told.read_text()

    def do(self, part: Part) -> None:
        """Run a part's command to its end, which must be a good one."""
        code, told = self.run(part)
        assert code == 0, told

    def run_killed(self, part: Part, number: int) -> bool:
        """Run a part's command to the boundary of this number; False where it came to its end before."""
        code, told = self.run(part, number)
        assert code in {0, -signal.SIGKILL}, f"{part.name} {number}: {told}"
        return code != 0

    def complete(self, part: Part) -> None:
        """Run the command once more; a slice that was destroyed to the very end is not known any more."""
        code, told = self.run(part)
        assert code == 0 or (part.name == "destroy" and "there is no slice 'admin/life' in the state" in told), told


@contextmanager
def runs_on(site: Site) -> Iterator[Runs]:
    """Give what runs commands for a site; of a run that hangs, nothing is left either."""
    environment = {"RECONCILER_CLUSTER": str(site.cluster), "RECONCILER_STATE": str(site.state)}
    with subprocess.Popen(
        [sys.executable, _STOPPED],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as server:
        try:
            yield Runs(site, server)
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def live(site: Site, start: int, step: int) -> dict[str, int]:
    """Live the slice's life again and again, killed at every `step`th boundary; return how often in each part."""
    parts = undisturbed(site)
    killed = dict.fromkeys(PARTS, 0)
    alive: set[str] = set()
    with runs_on(site) as runs:
        for number in count(start, step):
            start_again(site)
            for part in parts:
                if part.name in alive:
                    runs.do(part)
                elif runs.run_killed(part, number):
                    killed[part.name] += 1
                    runs.complete(part)
                else:
                    alive.add(part.name)
                check(site, part, number)
            if len(alive) == len(parts):
                break
    return killed


def blank(site: Site) -> Site:
    """Return the site with a cluster file of its own, whose guests have an empty disk: they need not boot."""
    site.folder.mkdir()
    disk = site.folder / "blank.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1M"], check=True)
    yaml = YAML(typ="safe")
    cluster: dict[str, Any] = yaml.load(site.cluster)
    digest = subprocess.run(["sha256sum", disk], check=True, capture_output=True, text=True).stdout.split()[0]
    cluster["images"] = {"blank": {"file": str(disk), "sha256": digest}}
    cluster["flavors"] = {
        name: {"image": "blank", "vcpus": 1, "memory": memory, "disk": "1MiB"}
        for name, memory in (("blank", "64MiB"), ("larger", "96MiB"))
    }
    path = site.folder / "cluster.yaml"
    with path.open("w") as stream:
        yaml.dump(cluster, stream)
    return replace(site, cluster=path)


def undisturbed(site: Site) -> Sequence[Part]:
    """Live the slice's life once without disturbance."""
    first, second = site.folder / "first.yaml", site.folder / "second.yaml"
    first.write_text(FIRST)
    second.write_text(SECOND)
    parts = []
    commands = (
        ("apply", "--auto-approve", str(first)),
        ("apply", "--auto-approve", "--accept-data-loss", str(second)),
        ("destroy", "--auto-approve", "admin/life"),
    )
    for name, command in zip(PARTS, commands, strict=True):
        site.do(*command)
        parts.append(Part(name, command, census(site.lab), state_of(site)))
    assert not parts[-1].state.resources
    return parts


def start_again(site: Site) -> None:
    """Delete the state: a new one gives the same numbers again."""
    shutil.rmtree(copies_folder(site.state), ignore_errors=True)
    for file in site.folder.glob("state.db*"):
        file.unlink()


def check(site: Site, part: Part, number: int) -> None:
    """Check that hosts and state are as after an undisturbed run: nothing is missing, doubled or left over."""
    assert settled(site.lab, part.hosts) == [], f"{part.name}, killed at boundary {number}"
    found = state_of(site)
    assert found == part.state, f"{part.name}, killed at boundary {number}"


def state_of(site: Site) -> StateSnapshot:
    """Return the state without its lineage and its serial."""
    store = open_store(site.folder / "state.db", cluster=site.lab.name, clock=lambda: datetime.now(UTC), read_only=True)
    try:
        return replace(store.read(), lineage="", serial=0)
    finally:
        store.close()
