"""On hosts: a VM that moves to another worker takes its disk with it, also where the move is cut short."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest

from tests.lab.site import Site, on_host

pytestmark = pytest.mark.lab

SLICE = """\
version: 1
name: moving
owner: admin
defaults: {{flavor: cirros}}
vms:
  web: {{worker: {worker}, internet: true, disk: {size}}}
  db: {{worker: worker1}}
links:
  - [web:eth1, db:eth1]
"""
PATTERN = "0x5a 1M 64k"


def written(site: Site) -> str:
    """Apply the slice with web on worker1, write a pattern to its disk, and return the disk's path."""
    path = site.write(SLICE.format(worker="worker1", size="1GiB"))
    site.do("apply", "--auto-approve", path)
    vm = site.vms("moving")["web"]
    disk = f"/var/lib/reconciler/vms/{vm.data['id']}/web_img.qcow2"
    on_host(site.lab, "worker1", f"kill -KILL {vm.pid}; while [ -e /proc/{vm.pid} ]; do sleep 0.05; done")
    on_host(site.lab, "worker1", f"qemu-io -f qcow2 -c 'write -P {PATTERN}' -c 'write -P 0x77 64M 24M' {disk}")
    site.do("apply", "--auto-approve", path)
    return disk


def holds_pattern(site: Site, worker: str, disk: str) -> bool:
    read = on_host(site.lab, worker, f"qemu-io -U -r -f qcow2 -c 'read -P {PATTERN}' {disk}")
    return "verification failed" not in read and "65536/65536" in read


def only_on(site: Site, worker: str, disk: str) -> bool:
    folder = disk.rpartition("/")[0]
    found = {each: on_host(site.lab, each, f"ls {folder} 2> /dev/null || :") for each in ("worker1", "worker2")}
    return disk.rpartition("/")[2] in found.pop(worker).split() and not any(found.values())


def test_a_vm_that_moves_keeps_its_data_its_numbers_and_its_addresses(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=2)
    disk = written(site)
    before = site.vms("moving")["web"].data
    path = site.write(SLICE.format(worker="worker2", size="1500MiB"))
    planned = site.do("plan", path).out
    assert "~ disk/admin/moving/web from worker1 to worker2  # update: moved with its data" in planned
    assert "data" not in planned.splitlines()[-1]
    site.do("apply", "--auto-approve", path)
    after = site.vms("moving")["web"].data
    assert (before["worker"], after["worker"]) == ("worker1", "worker2")
    assert {key: after[key] for key in ("id", "nics")} == {key: before[key] for key in ("id", "nics")}
    assert holds_pattern(site, "worker2", disk)
    assert only_on(site, "worker2", disk)
    assert '"virtual-size": 1572864000' in on_host(site.lab, "worker2", f"qemu-img info -U --output=json {disk}")
    site.in_sync(path)
    assert "no drift" in site.do("drift").out.lower()


def test_a_move_that_is_killed_is_completed_and_loses_nothing(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=2)
    disk = written(site)
    path = site.write(SLICE.format(worker="worker2", size="1GiB"))
    for _ in range(2):
        running = site.start("apply", "--auto-approve", path)
        running.wait_for_lines(1, "disk/admin/moving/web")
        running.signal(signal.SIGKILL)
        assert running.finish().code == -signal.SIGKILL
    site.do("apply", "--auto-approve", path)
    assert holds_pattern(site, "worker2", disk)
    assert only_on(site, "worker2", disk)
    site.in_sync(path)


OTHER = """\
version: 1
name: other
owner: admin
defaults: {flavor: cirros}
vms: {a: {}, b: {}, c: {}}
"""


def test_a_worker_is_evacuated_to_be_serviced_also_if_that_is_cut_short(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=3)
    disk = written(site)
    unpinned = SLICE.format(worker="worker1", size="1GiB").replace("worker: worker1, ", "")
    files = [site.write(unpinned.replace("{worker: worker1}", "{}")), site.write(OTHER)]
    site.apply(*files)
    running = site.start("evacuate", "worker1", "--auto-approve", *files)
    running.wait_for_lines(1, "disk/admin/moving/web")
    running.signal(signal.SIGKILL)
    assert running.finish().code == -signal.SIGKILL
    site.do("evacuate", "worker1", "--auto-approve", *files)
    (vm,) = (each for name, each in site.vms("moving").items() if name == "web")
    assert vm.worker != "worker1"
    assert holds_pattern(site, vm.worker, disk)
    assert on_host(site.lab, "worker1", "ls /var/lib/reconciler/vms 2> /dev/null || :") == ""
    hosts = {each["host"]: each for each in json.loads(site.do("hosts", "--json").out)}
    assert (hosts["worker1"]["state"], hosts["worker1"]["vms"]) == ("cordoned", 0)
    assert [each["verb"] for each in json.loads(site.do("history", "--json").out)][:2] == ["evacuate", "evacuate"]
    for path in files:
        site.in_sync(path)
    assert "No changes" in site.do("evacuate", "worker1", "--auto-approve", *files).out


def test_a_move_that_is_taken_back_half_way_keeps_the_disk_where_it_was(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=2)
    disk = written(site)
    path = site.write(SLICE.format(worker="worker2", size="1GiB"))
    # Somebody else's overlay is in the way, so that the move fails after the VM was stopped.
    on_host(site.lab, "worker2", f"mkdir -p {disk.rpartition('/')[0]}; echo other > {disk}")
    failed = site.run("apply", "--auto-approve", path)
    assert failed.code == 1, failed.told
    assert f"the file {disk}" in failed.told
    back = site.write(SLICE.format(worker="worker1", size="1GiB"))
    on_host(site.lab, "worker2", f"rm -r {disk.rpartition('/')[0]}")
    site.do("apply", "--auto-approve", back)
    assert holds_pattern(site, "worker1", disk)
    assert only_on(site, "worker1", disk)
    site.in_sync(back)
