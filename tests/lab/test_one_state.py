"""Hosts work for one state: another is refused, an older copy is recognised, and a lost one is rebuilt."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.lab.site import Site, on_host
from tests.lab.test_dead_host import with_dead

pytestmark = pytest.mark.lab

LAB = """\
version: 1
name: {name}
owner: {owner}
defaults: {{flavor: cirros}}
vms:
  web: {{internet: true}}
  db: {{}}
links:
  - [web:eth1, db:eth1]
"""


@dataclass(frozen=True)
class OtherPlace(Site):
    """The same lab and files with another state."""

    @property
    def state(self) -> Path:
        return self.folder / "other.db"


def other_place(site: Site) -> Site:
    return OtherPlace(site.lab, site.folder, site.cluster, guests=site.guests)


def write(site: Site, name: str, owner: str = "alice") -> Path:
    return site.write(LAB.format(name=name, owner=owner))


def pids(site: Site, name: str) -> dict[str, int]:
    return {vm: found.pid for vm, found in site.vms(name).items()}


def numbers(site: Site, name: str) -> dict[str, tuple[Any, ...]]:
    return {
        vm: (each.data["id"], each.data["vnc"], [nic["mac"] for nic in each.nics.values()])
        for vm, each in site.vms(name).items()
    }


def lose(site: Site) -> None:
    for suffix in ("", "-wal", "-shm"):
        site.state.with_name(site.state.name + suffix).unlink(missing_ok=True)


def keep(site: Site, copy: Path) -> None:
    with closing(sqlite3.connect(site.state)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


@pytest.fixture
def busy(site: Site) -> Site:
    """Give a lab with a slice of the usual state."""
    site.apply(write(site, "lab1"))
    return site


def test_a_second_state_is_refused_before_its_first_step(busy: Site) -> None:
    other = other_place(busy)
    running = pids(busy, "lab1")
    plan = busy.folder / "other.plan"
    file = write(busy, "lab2", "bob")
    other.do("plan", "-o", plan, file)
    for verb in (("apply", "--auto-approve", file), ("apply", "--auto-approve", plan), ("plan", "--refresh", file)):
        refused = other.run(*verb)
        assert refused.code == 1, refused.told
        assert "error[host-owned]" in refused.err, refused.told
        assert "belongs to another state" in refused.err
        assert str(busy.state) in refused.err, "where that state is"
        assert "reconciler state rebuild" in refused.err, "what to do"
    assert other.run("gc", "--auto-approve").code == 1
    checked = other.run("doctor", "--json")
    assert (checked.code, str(busy.state) in json.loads(checked.out)["ownership"]) == (1, True), checked.told
    assert f"State: {busy.state}" in busy.do("doctor").err
    assert other.run("history").out.count("\n") <= 1, "no apply was begun"
    assert pids(busy, "lab1") == running
    busy.in_sync(write(busy, "lab1"))

    busy.destroy("lab1")
    for host in ("worker1", "worker2", "worker3", "gateway"):
        assert on_host(busy.lab, host, "ls /var/lib/reconciler/state 2> /dev/null || :") == "", "the host is free"
    other.apply(file)
    other.destroy("lab2")


def test_a_lost_state_is_rebuilt_and_its_plan_is_empty(busy: Site) -> None:
    lab1, lab2, lab3 = (write(busy, name) for name in ("lab1", "lab2", "lab3"))
    busy.apply(lab2, lab3)
    busy.destroy("lab3")
    lab2.write_text(lab2.read_text().replace("  db: {}\n", "  db: {memory: 300MiB}\n"))
    busy.apply(lab2)
    before = {name: (pids(busy, name), numbers(busy, name)) for name in ("lab1", "lab2")}
    lose(busy)

    refused = busy.run("apply", "--auto-approve", lab1, lab2)
    assert (refused.code, "error[host-owned]" in refused.err) == (1, True), refused.told
    rebuilt = json.loads(busy.do("state", "rebuild", "--auto-approve", "--json").out)
    assert [(one["slice"], one["missing"], one["unknown"]) for one in rebuilt["slices"]] == [
        ("alice/lab1", [], 0),
        ("alice/lab2", [], 0),
    ]
    assert (rebuilt["gone"], rebuilt["orphans"], rebuilt["unread"]) == ([], 0, {})
    busy.in_sync(lab1, lab2)
    busy.do("plan", "--refresh", "--detailed-exitcode", lab1, lab2)
    assert {name: (pids(busy, name), numbers(busy, name)) for name in ("lab1", "lab2")} == before
    assert "Nothing to rebuild" in busy.do("state", "rebuild", "--auto-approve").out

    busy.apply(write(busy, "lab4"))
    assert min(vm.data["id"] for vm in busy.vms("lab4").values()) > max(
        one[0] for found in (before["lab1"], before["lab2"]) for one in found[1].values()
    ), "numbers go on where the lost state was"


def test_what_is_gone_meanwhile_is_planned_again(busy: Site) -> None:
    lab1 = write(busy, "lab1")
    web = busy.vms("lab1")["web"]
    lose(busy)
    on_host(busy.lab, web.worker, f"kill {web.pid}; while kill -0 {web.pid} 2>/dev/null; do sleep 0.1; done")
    found = json.loads(busy.do("state", "rebuild", "--auto-approve", "--json").out)
    assert "vm/alice/lab1/web" in found["slices"][0]["missing"]
    assert "vm/alice/lab1/db" not in found["slices"][0]["missing"]
    applied = busy.apply(lab1)
    assert "0 destroyed" in applied.out, applied.told
    busy.in_sync(lab1)


def test_an_older_copy_of_the_state_is_recognised_and_brought_up_to_date(busy: Site, tmp_path: Path) -> None:
    lab1, lab2 = write(busy, "lab1"), write(busy, "lab2")
    copy = tmp_path / "copy.db"
    keep(busy, copy)
    busy.apply(lab2)
    lose(busy)
    shutil.copy(copy, busy.state)

    for arguments in (("apply", "--auto-approve", lab1, lab2), ("gc", "--auto-approve"), ("plan", "--refresh", lab1)):
        for _ in range(3):  # each attempt takes locks, which must not make the state look newer
            refused = busy.run(*arguments)
            assert (refused.code, "error[state-behind]" in refused.err) == (1, True), refused.told
    busy.do("state", "rebuild", "--auto-approve")
    busy.in_sync(lab1, lab2)
    assert busy.run("drift").code == 0


def test_a_host_that_cannot_be_read_is_named_and_what_it_has_stays_known(busy: Site) -> None:
    lab1 = write(busy, "lab1")
    worker = busy.vms("lab1")["web"].worker
    lose(busy)
    dead = replace(busy, cluster=with_dead(busy.cluster, busy.folder / "dead.yaml", worker))
    found = dead.run("state", "rebuild", "--auto-approve", "--json")
    assert found.code == 1, "a host is missing"
    document = json.loads(found.out)
    assert list(document["unread"]) == [worker]
    assert document["slices"][0]["unknown"] > 0
    busy.do("state", "rebuild", "--auto-approve")
    busy.in_sync(lab1)
