"""A worker does not answer: slices elsewhere are planned, applied and destroyed, and nothing new goes there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.lab.site import Site

pytestmark = pytest.mark.lab


def slice_text(name: str, *vms: str) -> str:
    lines = "\n".join(f"  {vm}" for vm in vms)
    return f"version: 1\nname: {name}\nowner: admin\ndefaults: {{flavor: cirros}}\nvms:\n{lines}\n"


def with_dead(cluster: Path, target: Path, name: str) -> Path:
    """Copy a cluster file so that nothing listens where a worker is looked for."""
    yaml = YAML(typ="safe")
    data = yaml.load(cluster)
    for worker in data["workers"]:
        if worker["name"] == name:
            worker["ssh"] = {**worker.get("ssh", {}), "port": 1}
    with target.open("w") as stream:
        yaml.dump(data, stream)
    return target


def test_a_dead_worker_stops_no_other_slice_and_gets_nothing_new(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=2)
    one = site.write(slice_text("one", "a: {worker: worker1, internet: true}"))
    two = site.write(slice_text("two", "a: {worker: worker2, internet: true}"))
    three = site.write(slice_text("three", "a: {}", "b: {}", "c: {}"))
    site.apply(one, two)
    dead = replace(site, cluster=with_dead(site.cluster, site.folder / "dead.yaml", "worker1"))

    shown = {row["host"]: row for row in json.loads(dead.do("hosts", "--json").out)}
    assert [(host, row["state"]) for host, row in shown.items()] == [
        ("worker1", "unreachable"),
        ("worker2", "ready"),
        ("gateway", "ready"),
    ]
    assert (shown["worker1"]["disk_free"], shown["worker1"]["slices"]) == (None, ["admin/one"])
    assert (shown["worker2"]["vms"], shown["worker2"]["slices"]) == (1, ["admin/two"])
    assert shown["worker2"]["disk_free"] > 0
    assert "worker1 could not be read: 127.0.0.1 refuses connections on port 1" in dead.do("hosts").out
    site.do("cordon", "worker2")
    assert [row["state"] for row in json.loads(site.do("hosts", "--json").out)] == ["ready", "cordoned", "ready"]
    site.do("uncordon", "worker2")

    planned = dead.run("plan", "--refresh", three)
    assert planned.code == 0, planned.told
    assert "on worker1" not in planned.out
    dead.apply(three)
    assert {vm.worker for vm in dead.vms("three").values()} == {"worker2"}
    failed = dead.run("destroy", "--auto-approve", "one")
    assert failed.code == 1, failed.told
    dead.do("plan", "--refresh", "--detailed-exitcode", two)
    dead.destroy("two")
    dead.destroy("three")

    site.destroy("one")
    assert site.run("drift").code == 0
