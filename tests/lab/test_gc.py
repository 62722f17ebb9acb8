"""`drift` reports orphans, and `gc` deletes those that two runs found; what others may need stays."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.spec.load import load_cluster
from reconciler.state.sql.store import open_store
from reconciler.state.store import Holder
from reconciler.trees import DISK
from tests.cli.running import on_terminal
from tests.lab.census import census, differences
from tests.lab.fences import fenced
from tests.lab.site import Site, on_host

pytestmark = pytest.mark.lab

DRIFTED = 2
FLOTSAM = """
version: 1
name: flotsam
owner: admin
defaults: {flavor: cirros}
vms:
  a: {worker: worker1}
  b: {worker: worker1}
"""
OF_B = ("vm/admin/flotsam/b", "disk/admin/flotsam/b", "port/admin/flotsam/b:eth0")
NOW = ("--older-than", "0s", "--auto-approve")


@contextmanager
def tap(site: Site, name: str, alias: str) -> Iterator[Callable[[], None]]:
    """Make a TAP by hand that says it is ours, and give a way to make it again; it is gone afterwards."""

    def make() -> None:
        on_host(site.lab, "worker1", f"ip link delete dev {name} 2> /dev/null || :; ip tuntap add dev {name} mode tap")
        on_host(site.lab, "worker1", f"ip link set dev {name} alias {alias}")

    make()
    try:
        yield make
    finally:
        on_host(site.lab, "worker1", f"[ ! -e /sys/class/net/{name} ] || ip link delete dev {name}")


@contextmanager
def held(site: Site, name: str) -> Iterator[None]:
    """Hold a lock of a site's record, as an apply in another process does."""
    cluster = load_cluster(DISK, site.cluster).cluster.name
    store = open_store(site.folder / "state.db", cluster=cluster, clock=lambda: datetime.now(UTC))
    try:
        with store.lock([name], Holder("anna", socket.gethostname(), os.getpid())):
            yield
    finally:
        store.close()


def actions(site: Site, *options: str) -> dict[str, str]:
    """Run `gc`, and return what it says of each orphan that is in reach of this test."""
    done = json.loads(site.do("gc", "--json", *options).out)
    return {one["address"]: one["fate"] for one in done["orphans"] if one["fate"] != "other record"}


def test_orphans_of_this_state_are_deleted_when_they_are_found_again(site: Site) -> None:
    path = site.write(FLOTSAM)
    site.apply(path)
    pids = {name: vm.pid for name, vm in site.vms("flotsam").items()}
    site.do("state", "forget", "--auto-approve", *OF_B)
    with fenced(site, "admin/flotsam", "worker1"), tap(site, "tapflotsam", "port/admin/flotsam/z:eth0"):
        orphans = {*OF_B, "port/admin/flotsam/z:eth0"}
        told = site.run("drift")
        assert told.code == DRIFTED, told.told
        lines = [line for line in told.out.splitlines() if line.startswith("orphan: ")]
        assert {line.split()[1] for line in lines} == orphans
        assert all(" on worker1 (" in line and "unknown" not in line for line in lines)
        assert told.out.endswith("resources; 4 orphans.\n")

        before = census(site.lab)
        assert actions(site, "--dry-run") == dict.fromkeys(orphans, "first seen")
        assert site.do("gc", "--auto-approve").out.endswith("A later run removes 4 orphans if still present.\n")
        assert actions(site, "--auto-approve") == dict.fromkeys(orphans, "too young")
        assert differences(before, census(site.lab)) == []

        done = site.do("gc", *NOW)
        assert "Removed 4 orphans in " in done.out
        assert done.err.index("vm/admin/flotsam/b: deleted") < done.err.index("disk/admin/flotsam/b: deleted")
        left = census(site.lab)["worker1"]
        assert not any("guest=admin/flotsam/b" in process for process in left.processes)
        assert not any("tapflotsam" in line or "/b_img" in line for line in (*left.interfaces, *left.files))
    site.apply(path)
    vms = site.vms("flotsam")
    assert vms["a"].pid == pids["a"]
    assert vms["b"].pid != pids["b"]
    site.do("drift")


def running(site: Site, name: str) -> bool:
    """Tell whether a VM of the slice runs on worker1, whatever is left of its files."""
    return any(f"guest=admin/driftwood/{name}" in process for process in census(site.lab)["worker1"].processes)


@pytest.mark.guests
def test_a_vm_whose_directory_was_deleted_by_hand_does_not_run_on(site: Site) -> None:
    path = site.write(FLOTSAM.replace("flotsam", "driftwood"))
    site.apply(path)
    with fenced(site, "admin/driftwood", "worker1"):
        site.do("state", "forget", "--auto-approve", *(one.replace("flotsam", "driftwood") for one in OF_B))
        on_host(site.lab, "worker1", "rm -r /var/lib/reconciler/vms/*")
        drift = site.run("drift")
        assert drift.code == DRIFTED, drift.told
        assert "orphan: vm/admin/driftwood/b on worker1" in drift.out
        assert "vm/admin/driftwood/a" in drift.out

        assert actions(site, *NOW)["vm/admin/driftwood/b"] == "first seen"
        assert running(site, "b")
        assert actions(site, *NOW)["vm/admin/driftwood/b"] == "remove"
        assert not running(site, "b")

        site.do("apply", "--auto-approve", "--accept-data-loss", path)
        assert site.vms("driftwood")["a"].run("echo back") == "back"
        site.in_sync(path)
        on_host(site.lab, "worker1", "rm -r /var/lib/reconciler/vms/*")
        site.destroy("driftwood")
        assert not running(site, "a")
        assert not running(site, "b")


def test_what_no_state_claims_is_deleted_only_on_request_and_if_unchanged(site: Site) -> None:
    where = "port/nobody/jetsam/x:eth0"
    with tap(site, "tapjetsam", where) as make_again:
        for _ in range(2):
            assert actions(site, *NOW) == {where: "unclaimed"}
        make_again()
        assert actions(site, "--include-unclaimed", *NOW) == {where: "first seen"}
        with held(site, "nobody/jetsam"):
            refused = site.run("gc", "--include-unclaimed", *NOW)
        assert refused.code == 1, refused.told
        assert "nobody/jetsam is being changed by anna" in refused.err
        options = ["--cluster", str(site.cluster), "--state", str(site.folder / "state.db"), "--older-than", "0s"]
        asked = on_terminal(["gc", "--include-unclaimed", *options], until="Remove 1 orphan? [y/N]: ", keys=b"n\n")
        assert (asked.code, asked.out.splitlines()[-1]) == (1, "Nothing was changed.")
        assert "tapjetsam" in on_host(site.lab, "worker1", "ip -br link")
        assert actions(site, "--include-unclaimed", *NOW) == {where: "remove"}
        assert "tapjetsam" not in on_host(site.lab, "worker1", "ip -br link")
    assert [apply["result"] for apply in json.loads(site.do("history", "--json").out)] == ["done"]


def test_what_another_state_may_need_is_reported_and_kept(site: Site, tmp_path: Path) -> None:
    path = site.write(FLOTSAM)
    site.apply(path)
    (tmp_path / "other").mkdir()
    other = replace(site, folder=tmp_path / "other")
    with fenced(site, "admin/flotsam", "worker1") as lineage:
        told = other.run("drift", "--json")
        of_slice = [one for one in json.loads(told.out)["orphans"] if one["slice"] == "admin/flotsam"]
        assert {*OF_B} < {one["address"] for one in of_slice}
        assert all(one["record"] == "other" and lineage in one["records"] for one in of_slice), of_slice
        before = census(site.lab)
        for _ in range(2):
            refused = other.run("gc", *NOW)
            assert (refused.code, "error[host-owned]" in refused.err) == (1, True), refused.told
        assert differences(before, census(site.lab)) == []
