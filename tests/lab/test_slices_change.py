"""Slices change while they run: links are added and removed, a VM is changed or removed; the rest is untouched."""

from __future__ import annotations

import pytest

from tests.lab.site import Site, Vm, on_host

pytestmark = [pytest.mark.lab, pytest.mark.guests]

HEAD = """
version: 1
name: growing
owner: admin
defaults: {flavor: cirros, interfaces: 2}
"""
PAIR = f"{HEAD}vms: {{left: {{}}, right: {{}}}}\n"
ONE_LINK = f"{PAIR}links: [[left:eth1, right:eth1]]\n"
TWO_LINKS = f"{PAIR}links: [[left:eth1, right:eth1], [left:eth2, right:eth2]]\n"
LARGER = f"{HEAD}vms: {{left: {{}}, right: {{memory: 320MiB}}}}\nlinks: [[left:eth1, right:eth1]]\n"
ALONE = f"{HEAD}vms: {{left: {{}}}}\n"


def life(vm: Vm) -> tuple[int, str]:
    """Return what only a restart changes: QEMU's process id, and what the guest's kernel calls this boot."""
    return vm.pid, vm.run("cat /proc/sys/kernel/random/boot_id")


def uptime(vm: Vm) -> float:
    """Return for how many seconds the guest has been up."""
    return float(vm.run("cat /proc/uptime").split()[0])


def running(site: Site) -> dict[str, Vm]:
    """Return the slice's VMs as they are now, once their guests have all of their addresses."""
    vms = site.vms("growing")
    for vm in vms.values():
        vm.settle()
    return vms


def test_a_link_is_added_to_running_vms_and_removed_again(site: Site) -> None:
    site.apply(site.write(ONE_LINK))
    before = running(site)
    lives, up = {name: life(vm) for name, vm in before.items()}, uptime(before["left"])

    added = site.apply(site.write(TWO_LINKS))
    assert "restart" not in added.out.splitlines()[-2]
    after = running(site)
    assert {name: life(vm) for name, vm in after.items()} == lives
    assert uptime(after["left"]) > up
    assert after["left"].pings_within(10, after["right"].ip("eth2"))
    assert after["left"].pings(after["right"].ip("eth1")), "the first link goes on"
    assert after["left"].ip("eth1") == before["left"].ip("eth1")
    site.in_sync(site.folder)

    site.apply(site.write(ONE_LINK))
    assert after["left"].pings_in_vain(after["right"].ip("eth2"), options="-I eth2")
    assert after["left"].pings(after["right"].ip("eth1")), "the first link goes on"
    assert {name: life(vm) for name, vm in running(site).items()} == lives
    site.in_sync(site.folder)


def test_a_vm_gets_memory_and_is_then_removed_while_its_neighbour_runs_on(site: Site) -> None:
    site.apply(site.write(ONE_LINK))
    before = running(site)
    neighbour, pid = life(before["left"]), before["right"].pid
    memory = int(before["right"].run("grep MemTotal /proc/meminfo").split()[1])

    planned = site.do("plan", site.write(LARGER))
    assert "~ vm/admin/growing/right" in planned.out
    assert "1 VM restarts" in planned.out
    site.apply(site.folder)
    after = running(site)
    assert after["right"].pid != pid
    assert int(after["right"].run("grep MemTotal /proc/meminfo").split()[1]) > memory + 50 * 1024, "64 MiB more"
    assert life(after["left"]) == neighbour
    assert after["left"].pings_within(10, after["right"].ip("eth1"))
    site.in_sync(site.folder)

    site.apply(site.write(ALONE))
    assert life(running(site)["left"]) == neighbour
    gone = after["right"]
    assert on_host(site.lab, gone.worker, f"ls /var/lib/reconciler/vms; ip link | grep tap{gone.data['id']} || :") == ""
    site.in_sync(site.folder)
