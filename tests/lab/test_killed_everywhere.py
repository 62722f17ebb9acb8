"""An apply that is killed at any boundary loses nothing: one more apply ends as if nothing had happened.

A slice is created, changed and destroyed, each time killed once before or after every write to the record and before
every batch, one boundary after the other until the command comes to its end alive.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count, repeat
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler.plan.record import Recorded
from reconciler.state.sql import open_store
from tests.conftest import Tell
from tests.lab.census import Census, census, settled
from tests.lab.site import Site

pytestmark = pytest.mark.lab

STAGES = ("create", "change", "destroy")

_STOPPED = Path(__file__).with_name("stopped.py")

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
class Stage:
    """A part of the slice's life: the command that brings it about, and how all must be afterwards."""

    name: str
    command: tuple[str, ...]
    hosts: Census
    record: Recorded


def test_killed_at_every_boundary(own_site: Callable[..., Site], tmp_path: Path, tell: Tell) -> None:
    """Two labs share the work, one for odd boundaries and one for even ones."""
    sites = [blank(replace(own_site(), folder=folder)) for folder in (tmp_path / "odd", tmp_path / "even")]
    with ThreadPoolExecutor(len(sites)) as pool:
        halves = list(pool.map(live, sites, range(1, 1 + len(sites)), repeat(len(sites))))
    killed = {name: sum(half[name] for half in halves) for name in STAGES}
    # Two for the locks, two each for begin and finish, and three at least for each of a host's batches.
    assert all(many >= 20 for many in killed.values()), killed
    tell(f"killed at {sum(killed.values())} boundaries on the lab: {killed}")


def live(site: Site, start: int, step: int) -> dict[str, int]:
    """Live the slice's life again and again, killed at every `step`th boundary; return how often in each stage."""
    stages = undisturbed(site)
    killed = dict.fromkeys(STAGES, 0)
    alive: set[str] = set()
    for number in count(start, step):
        start_anew(site)
        for stage in stages:
            if stage.name in alive:
                site.do(*stage.command)
            elif run_killed(site, number, stage):
                killed[stage.name] += 1
                complete(site, stage)
            else:
                alive.add(stage.name)
            check(site, stage, number)
        if len(alive) == len(stages):
            break
    return killed


def complete(site: Site, stage: Stage) -> None:
    """Run the command once more; a slice that was destroyed to the very end is not known any more."""
    again = site.run(*stage.command)
    assert again.code == 0 or (stage.name == "destroy" and "no slice 'admin/life' is recorded" in again.err), again.told


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


def undisturbed(site: Site) -> Sequence[Stage]:
    """Live the slice's life once without disturbance."""
    first, second = site.folder / "first.yaml", site.folder / "second.yaml"
    first.write_text(FIRST)
    second.write_text(SECOND)
    stages = []
    commands = (
        ("apply", "--auto-approve", str(first)),
        ("apply", "--auto-approve", str(second)),
        ("destroy", "--auto-approve", "admin/life"),
    )
    for name, command in zip(STAGES, commands, strict=True):
        site.do(*command)
        stages.append(Stage(name, command, census(site.lab), recorded(site)))
    assert not stages[-1].record.resources
    return stages


def start_anew(site: Site) -> None:
    """Forget the record: with a new one, all numbers are given as the first time."""
    for file in site.folder.glob("state.db*"):
        file.unlink()


def run_killed(site: Site, number: int, stage: Stage) -> bool:
    """Run a stage's command to the boundary of this number; False where it came to its end before."""
    environment = {"RECONCILER_CLUSTER": str(site.cluster), "RECONCILER_STATE": str(site.folder / "state.db")}
    done = subprocess.run(
        [sys.executable, _STOPPED, str(number), *stage.command],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in {0, -signal.SIGKILL}, f"{stage.name} {number}: {done.stdout}{done.stderr}"
    return done.returncode != 0


def check(site: Site, stage: Stage, number: int) -> None:
    """See that hosts and record are as after an undisturbed run: nothing lacks, doubles, stays, or leaks."""
    assert settled(site.lab, stage.hosts) == [], f"{stage.name}, killed at boundary {number}"
    found = recorded(site)
    assert found == stage.record, f"{stage.name}, killed at boundary {number}"


def recorded(site: Site) -> Recorded:
    """Return the record, without what tells one record from another and counts its writes."""
    store = open_store(site.folder / "state.db", cluster=site.lab.name, clock=lambda: datetime.now(UTC), read_only=True)
    try:
        return replace(store.read(), lineage="", serial=0)
    finally:
        store.close()
