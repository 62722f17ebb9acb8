"""A host leaves the cluster file while the state has resources there: every verb works, and it can be forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.lab.site import Site

pytestmark = pytest.mark.lab

TWO = """\
version: 1
name: two
owner: admin
defaults: {flavor: cirros}
vms:
  web: {internet: true}
  db: {}
links:
  - [web:eth1, db:eth1]
"""
OTHER = """\
version: 1
name: other
owner: admin
defaults: {flavor: cirros}
vms:
  solo: {worker: worker2}
"""
UNKNOWN = "worker1: it is not in the cluster file"


def without_worker1(cluster: Path, target: Path) -> Path:
    yaml = YAML(typ="safe")
    data = yaml.load(cluster)
    data["workers"] = data["workers"][1:]
    with target.open("w") as stream:
        yaml.dump(data, stream)
    return target


def test_every_verb_works_without_the_host_and_it_can_be_forgotten(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=2)
    two, other = site.write(TWO), site.write(OTHER)
    site.apply(two)
    before = site.vms("two")
    assert {vm.data["worker"] for vm in before.values()} == {"worker1", "worker2"}
    site = replace(site, cluster=without_worker1(site.cluster, site.folder / "no-worker1.yaml"))

    for verb in (["status"], ["show", "two"], ["history"], ["state", "list"], ["doctor"]):
        site.do(*verb)
    drift = site.run("drift")
    assert (drift.code, UNKNOWN in drift.told) == (1, True), drift.told
    collected = site.run("gc", "--dry-run")
    assert (collected.code, UNKNOWN in collected.told) == (1, True), collected.told
    verified = site.run("verify")
    assert verified.code == 1, verified.told
    assert "Traceback" not in drift.told + collected.told + verified.told
    for words in (["plan", two], ["apply", "--auto-approve", two], ["destroy", "--auto-approve", "two"]):
        refused = site.run(*words)
        assert refused.code == 1, refused.told
        assert "on worker1, which is not in the cluster file" in refused.err, refused.told

    site.apply(other)
    site.do("plan", "--detailed-exitcode", other)
    site.destroy("other")

    named = site.run("forget", "worker9", "--auto-approve")
    assert (named.code, "error[usage]: the state has nothing on worker9" in named.err) == (1, True)
    done = site.do("forget", "worker1", "--auto-approve")
    (gone,) = (name for name, vm in before.items() if vm.data["worker"] == "worker1")
    assert f"1 VM loses its data: admin/two/{gone}." in done.err
    assert "still in the cluster file" not in done.err
    assert site.run("drift").code == 0
    site.apply(two)
    after = site.vms("two")
    assert {vm.data["worker"] for vm in after.values()} == {"worker2"}
    assert {name: vm.data["id"] for name, vm in after.items()} == {name: vm.data["id"] for name, vm in before.items()}
    site.in_sync(two)
    site.destroy("two")
