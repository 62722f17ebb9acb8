"""A kind of resource that only this test registers is applied, checked for drift, verified and collected on the lab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.fences import fenced
from tests.lab.site import Done, Site, on_host

pytestmark = pytest.mark.lab

DRIFTED = 2
LIGHT = """
version: 1
name: light
owner: admin
defaults: {flavor: cirros}
vms:
  house: {worker: worker1}
"""
WHERE = "beacon/admin/light/house"
FILES = "/var/lib/reconciler/beacons"
ROOT = Path(__file__).parents[2]


def run(site: Site, *arguments: str | Path) -> Done:
    """Run the command line with the kind registered, on the state of a site."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.plan.eleventh.program", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"RECONCILER_CLUSTER": str(site.cluster), "RECONCILER_STATE": str(site.state)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def do(site: Site, *arguments: str | Path) -> Done:
    done = run(site, *arguments)
    assert done.code == 0, done.told
    return done


def test_an_eleventh_kind_is_managed_like_the_others(site: Site) -> None:
    path = site.write(LIGHT)
    assert "1 vCPU" in do(site, "plan", "--rehearse", path).out
    try:
        do(site, "apply", "--auto-approve", path)
        assert on_host(site.lab, "worker1", f"cat {FILES}/*").splitlines() == [WHERE, "house has 1 vCPU"]
        do(site, "drift")
        do(site, "verify", "light")

        on_host(site.lab, "worker1", f"sed -i 's/house has/nobody has/' {FILES}/*")
        drift = run(site, "drift")
        assert (drift.code, f"changed: {WHERE} on worker1" in drift.out) == (DRIFTED, True), drift.told
        assert WHERE in run(site, "verify", "light").out
        assert "text changed on worker1" in do(site, "apply", "--auto-approve", path).out
        do(site, "drift")

        do(site, "state", "forget", "--auto-approve", WHERE)
        with fenced(site, "admin/light", "worker1"):
            orphans = json.loads(do(site, "gc", "--json", "--auto-approve").out)["orphans"]
            assert WHERE in {one["address"] for one in orphans}
            do(site, "gc", "--older-than", "0s", "--auto-approve")
        assert on_host(site.lab, "worker1", f"ls {FILES}") == ""
        do(site, "apply", "--auto-approve", path)
    finally:
        do(site, "destroy", "--auto-approve", "light")
    assert on_host(site.lab, "worker1", f"ls {FILES}; rmdir {FILES}") == ""
