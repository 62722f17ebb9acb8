"""A fault on a host is reported, and the next apply repairs it or a destroy removes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from reconciler import lab as labs
from tests.lab.census import census, settled
from tests.lab.gate import put_gate
from tests.lab.site import EXAMPLES, Site, on_host

pytestmark = pytest.mark.lab

TWO_VMS = EXAMPLES / "two-vms.yaml"

# What is in the way: on which host, its name, and how it is created, removed and checked.
OBSTACLES = {
    "interface": (
        "worker1",
        "tap1001-1",
        "ip tuntap add dev tap1001-1 mode tap; ip link set dev tap1001-1 alias precious",
        "ip link delete dev tap1001-1",
        "ip -d link show dev tap1001-1 | sed 1d",
    ),
    "switch port": (
        "worker2",
        "tap1002-1",
        "ovs-vsctl add-port br-int tap1002-1 tag=77 -- set interface tap1002-1 type=internal",
        "ovs-vsctl del-port tap1002-1",
        "ovs-vsctl --columns=_uuid,name,tag,external_ids list port tap1002-1",
    ),
    "namespace": (
        "gateway",
        "slice-1000",
        "ip netns add slice-1000; ip -n slice-1000 link set lo up",
        "ip netns delete slice-1000",
        "stat -c %i /run/netns/slice-1000; ip -n slice-1000 -br address",
    ),
    "overlay": (
        "worker1",
        "/var/lib/reconciler/vms/1001/db_img.qcow2",
        "mkdir -p /var/lib/reconciler/vms/1001; echo precious > /var/lib/reconciler/vms/1001/db_img.qcow2",
        "rm -r /var/lib/reconciler/vms/1001",
        "cat /var/lib/reconciler/vms/1001/db_img.qcow2",
    ),
}


@pytest.fixture(params=OBSTACLES)
def obstacle(request: pytest.FixtureRequest, site: Site) -> Iterator[tuple[str, str, str]]:
    """Create a foreign object where the example needs its own; give host, name, and a command to check it."""
    host, name, make, unmake, look = OBSTACLES[request.param]
    on_host(site.lab, host, make)
    yield host, name, look
    on_host(site.lab, host, unmake)


def test_a_deploy_that_a_foreign_object_stops_is_destroyed_completely(
    site: Site, obstacle: tuple[str, str, str]
) -> None:
    host, name, look = obstacle
    before, thing = census(site.lab), on_host(site.lab, host, look)

    failed = site.run("apply", "--auto-approve", TWO_VMS)
    assert failed.code == 1, failed.told
    message = next(line for line in failed.out.splitlines() if line.startswith("failed: "))
    assert f"on {host}" in message
    assert name in message
    assert "is in the way" in message
    assert "skipped: " in failed.out
    assert settled(site.lab, before, within=0) != [], "what does not depend on it was made"

    site.destroy("two-vms")
    assert on_host(site.lab, host, look) == thing
    assert settled(site.lab, before) == []
    assert site.slices() == []


def test_a_host_without_a_known_key_is_sent_nothing(site: Site) -> None:
    cluster = YAML(typ="safe").load(site.cluster)
    port = next(worker["ssh"]["port"] for worker in cluster["workers"] if worker["name"] == "worker2")
    known = Path(cluster["ssh"]["known_hosts"]).read_text().splitlines(keepends=True)
    fewer = site.folder / "known_hosts"
    fewer.write_text("".join(line for line in known if f":{port} " not in line))
    careful = replace(site, cluster=site.folder / "cluster.yaml")
    cluster["ssh"]["known_hosts"] = str(fewer)
    with careful.cluster.open("w") as stream:
        YAML().dump(cluster, stream)

    before = census(site.lab)["worker2"]
    path = site.write(TWO_VMS.read_text())
    failed = careful.run("apply", "--auto-approve", path)
    assert failed.code == 1, failed.told
    told = [line for line in failed.out.splitlines() if line.startswith("failed: ")]
    assert ["worker2" in line and "host key" in line for line in told] == [True], failed.told
    assert census(site.lab)["worker2"] == before
    assert any(
        line.startswith("worker1 ") and "vm/admin/two-vms/db: created" in line for line in failed.err.splitlines()
    )
    site.apply(path)
    site.in_sync(path)


FOUR = """
version: 1
name: four
owner: admin
defaults: {flavor: cirros}
vms:
  a: {worker: worker1, internet: true}
  b: {worker: worker2}
  c: {worker: worker2, internet: true}
  d: {worker: worker1}
links:
  - [a, b]
  - [c, d]
"""


@pytest.mark.parametrize("disks", [0, 1])
@pytest.mark.guests
def test_a_worker_s_plug_pulled_during_apply(disks: int, own_site: Callable[..., Site]) -> None:
    site = own_site(workers=2)
    path = site.write(FOUR)
    site.apply(path)
    whole = census(site.lab)
    site.destroy("four")
    (site.folder / "state.db").unlink()

    held = put_gate(site.lab, "worker2")
    running = site.start("apply", "--auto-approve", path)
    for number in range(1, disks + 1):
        held.wait_for_callers(number)
        held.let_in(number)
    held.wait_for_callers(disks + 1)
    running.wait_for_lines(2, "worker1 ", "vm/admin/four/", ": created in ")
    labs.pull_plug(site.lab.name, "worker2")
    failed = running.finish()
    assert failed.code == 1, failed.told
    troubles = [line for line in failed.out.splitlines() if line.startswith(("failed: ", "unknown: "))]
    assert troubles
    assert all("worker2: " in line for line in troubles), failed.told
    assert "Apply incomplete" in failed.out
    for name in ("a", "d"):
        assert site.vms("four")[name].data["status"] == "present", "worker1 was not kept from its work"

    seen = site.run("plan", "--refresh", "--detailed-exitcode", path)
    assert seen.code == 1, seen.told
    assert "worker2 could not be read: state of " in seen.out, seen.told

    unreachable = site.run("apply", "--auto-approve", path)
    assert unreachable.code == 1, unreachable.told
    assert re.search(r"^failed: .*worker2: ", unreachable.out, re.MULTILINE), unreachable.told

    labs.plug_in(site.lab.name, "worker2")
    site.apply(path)
    assert settled(site.lab, whole) == []
    site.in_sync(path)
    vms = site.vms("four")
    for vm in vms.values():
        vm.settle()
    assert vms["a"].pings(vms["b"].ip("eth1"))
    assert vms["d"].pings(vms["c"].ip("eth1"))
    assert vms["c"].downloads("http://203.0.113.10/")
    site.in_sync(path)


def test_a_plan_with_refresh_shows_what_an_apply_would_repair(site: Site) -> None:
    site.apply(TWO_VMS)
    vm = site.vms("two-vms")["web"]
    tap = vm.nics["eth1"]["tap"]
    on_host(site.lab, vm.worker, f"ip link delete dev {tap}")
    blind = site.run("plan", "--detailed-exitcode", TWO_VMS)
    assert blind.code == 0, "the state does not know it"
    seen = site.run("plan", "--refresh", "--detailed-exitcode", TWO_VMS)
    assert seen.code == 2, seen.told
    assert f"port/admin/two-vms/web:eth1 on {vm.worker}  # create: gone from {vm.worker}" in seen.out
    assert "vm/admin/two-vms/web on" in seen.out
    pid = vm.pid
    site.apply(TWO_VMS)
    assert vm.pid != pid, "a guest whose TAP is created again is started again"
    site.in_sync(TWO_VMS)


def test_a_vm_is_created_again_on_request(site: Site) -> None:
    site.apply(TWO_VMS)
    vms = site.vms("two-vms")
    before = {name: vm.pid for name, vm in vms.items()}
    done = site.do("apply", "--auto-approve", "--replace", "vm/admin/two-vms/web", TWO_VMS)
    assert "0 added, 0 changed, 1 replaced, 0 destroyed" in done.out
    assert vms["web"].pid != before["web"]
    assert vms["db"].pid == before["db"]
    site.in_sync(TWO_VMS)
