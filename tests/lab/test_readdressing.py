"""On hosts: a link gets another subnet and MTU under running guests, which then have the new address and MTU."""

from __future__ import annotations

from functools import partial

import pytest

from tests.lab.site import Site, Vm, on_host, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.guests]

SLICE = """\
version: 1
name: sub
owner: bob
defaults: {{flavor: cirros}}
vms:
  web: {{worker: worker1}}
  db: {{worker: worker2}}
links:
  - {{endpoints: [web:eth1, db:eth1]{more}}}
"""
BEFORE = SLICE.format(more=", subnet: 10.44.0.0/24, mtu: 1400")
AFTER = SLICE.format(more=", subnet: 10.45.0.0/24")


def has_address(vm: Vm, ip: str) -> bool:
    return vm.guest.address("eth1") == ip


def test_running_guests_get_the_new_address_and_mtu_of_their_link(site: Site) -> None:
    path = site.write(BEFORE)
    site.apply(path)
    before = site.vms("sub")
    for vm in before.values():
        vm.settle()
    assert before["web"].ip("eth1").startswith("10.44.0.")
    lives = {name: (vm.pid, vm.run("cat /proc/sys/kernel/random/boot_id")) for name, vm in before.items()}

    site.write(AFTER)
    planned = site.do("plan", path)
    assert "leases[1] = 10.44.0." in planned.out
    assert "1 link interrupted" in planned.out
    site.apply(path)
    after = site.vms("sub")
    for vm in after.values():
        new = vm.ip("eth1")
        assert new.startswith("10.45.0.")
        wait_until(partial(has_address, vm, new), f"the guest to have {new}", within=30)
        addresses = vm.run("ip -4 -o address show dev eth1")
        assert "10.44.0." not in addresses
        assert "mtu 1500" in vm.run("ip link show dev eth1")
    assert after["web"].pings_within(10, after["db"].ip("eth1"))
    assert {name: (vm.pid, vm.run("cat /proc/sys/kernel/random/boot_id")) for name, vm in after.items()} == lives
    site.in_sync(path)
    assert "no drift" in site.do("drift").out.lower()
    assert site.do("verify").code == 0


def test_a_guest_that_leaves_the_internet_forgets_its_default_route(site: Site) -> None:
    path = site.write(AFTER.replace("{worker: worker1}", "{worker: worker1, internet: true}"))
    site.apply(path)
    web = site.vms("sub")["web"]
    web.settle()
    assert "dev eth0" in web.run("ip route show default")
    site.write(AFTER)
    site.apply(path)
    wait_until(lambda: "dev eth1" in web.run("ip route show default"), "the route through the link", within=30)
    wait_until(lambda: "eth0" not in web.run("ip route"), "eth0 to have nothing", within=30)
    pid = f"cat /var/lib/reconciler/vms/{web.data['id']}/qemu.pid"
    assert on_host(site.lab, web.worker, pid)
