"""On hosts: a worker that answers is replaced with the data of its VMs, and a dead one without, if that is accepted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler import lab as labs
from tests.lab.site import Site, on_host

pytestmark = pytest.mark.lab

SLICE = """\
version: 1
name: leaving
owner: admin
defaults: {flavor: cirros}
vms: {web: {internet: true}, db: {}}
links: [[web, db]]
"""
PATTERN = "0x5a 1M 64k"


def holds_pattern(site: Site, worker: str, disk: str) -> bool:
    read = on_host(site.lab, worker, f"qemu-io -U -r -f qcow2 -c 'read -P {PATTERN}' {disk}")
    return "verification failed" not in read and "65536/65536" in read


def test_a_worker_is_replaced_alive_and_dead(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=3)
    path = site.write(SLICE)
    site.do("cordon", "worker3")
    site.apply(path)
    before = site.vms("leaving")
    (moved,) = (vm for vm in before.values() if vm.worker == "worker1")
    disk = f"/var/lib/reconciler/vms/{moved.data['id']}/{moved.data['name']}_img.qcow2"
    on_host(site.lab, "worker1", f"kill -KILL {moved.pid}; while [ -e /proc/{moved.pid} ]; do sleep 0.05; done")
    on_host(site.lab, "worker1", f"qemu-io -f qcow2 -c 'write -P {PATTERN}' {disk}")
    site.apply(path)
    site.do("uncordon", "worker3")

    refused = site.run("forget", "worker1", "--auto-approve")
    assert refused.code == 1
    assert "worker1 answers and works for this state" in refused.err

    site.do("replace-host", "worker1", "worker3", "--auto-approve", path)
    after = site.vms("leaving")
    assert sorted(vm.worker for vm in after.values()) == ["worker2", "worker3"]
    assert holds_pattern(site, "worker3", disk)
    assert on_host(site.lab, "worker1", "ls /var/lib/reconciler/vms 2> /dev/null || :") == ""
    site.in_sync(path)

    labs.pull_plug(site.lab.name, "worker3")
    site.do("uncordon", "worker1")
    lost = site.run("replace-host", "worker3", "worker1", "--auto-approve", path)
    assert lost.code == 1
    assert "worker3 does not come back" in lost.err
    assert "1 VM loses its data, and nobody asked for that" in lost.err
    site.do("replace-host", "worker3", "worker1", "--auto-approve", "--accept-data-loss", path)
    now = site.vms("leaving")
    assert {name: vm.data["id"] for name, vm in now.items()} == {name: vm.data["id"] for name, vm in before.items()}
    assert sorted(vm.worker for vm in now.values()) == ["worker1", "worker2"]
    assert site.run("plan", "--detailed-exitcode", path).code == 0
    assert "No changes" in site.do("replace-host", "worker3", "worker1", "--auto-approve", path).out
    site.destroy("leaving")
