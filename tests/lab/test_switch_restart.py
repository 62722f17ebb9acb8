"""A switch that restarts lets nothing through that it did not before, and afterwards everything that it did."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.lab.site import Site, Vm, on_host, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.guests]

PAGE = "http://203.0.113.10/"
SLICE = """
version: 1
name: {name}
owner: {owner}
defaults: {{flavor: cirros}}
vms:
  vm: {{worker: {worker}, internet: true}}
"""
RESTART = """
kill -9 $(pidof ovs-vswitchd)
while pidof ovs-vswitchd > /dev/null; do sleep 0.01; done
sleep 0.5
until ovs-vswitchd -vconsole:off -vsyslog:off --pidfile --detach --no-chdir --log-file; do sleep 0.05; done
"""
# What a host of an earlier version has: a bridge that fails open, nobody who keeps its flows, and no base flow.
OPENED = """
kill $(pgrep -f '^sh /var/lib/reconciler/flows/keep') || :
rm -rf /var/lib/reconciler/flows
ovs-ofctl --names --no-stats dump-flows br-int cookie=0x7263000000000000/0xffff000000000000 |
    grep -v ' priority=0 ' > /tmp/flows
ovs-vsctl set-fail-mode br-int standalone
ovs-ofctl add-flows br-int /tmp/flows
"""


def attack(vm: Vm, victim: Vm) -> None:
    """Start pings to the victim's MAC: no ARP is needed, and every frame that gets through is counted there."""
    target, mac = victim.ip("eth0"), victim.nics["eth0"]["mac"]
    vm.run(f"arp -i eth0 -s {target} {mac}; (ping -i 0.05 {target} > /dev/null 2>&1 &)")


def both(site: Site) -> tuple[Vm, Vm]:
    """Apply a slice of alice's on worker1 and one of bob's on worker2, and wait for the guests."""
    text = {owner: SLICE.format(name=f"of-{owner}", owner=owner, worker=worker) for owner, worker in OWNERS.items()}
    site.apply(*(site.write(one) for one in text.values()))
    a, b = (site.vms(f"{owner}/of-{owner}")["vm"] for owner in OWNERS)
    for vm in (a, b):
        vm.settle()
        assert vm.downloads(PAGE)
    return a, b


OWNERS = {"alice": "worker1", "bob": "worker2"}


def test_two_owners_stay_apart_while_their_switches_restart(own_site: Callable[..., Site]) -> None:
    site = own_site(2)
    a, b = both(site)
    attack(a, b)
    attack(b, a)
    before = a.echoes(), b.echoes()
    for worker in OWNERS.values():
        on_host(site.lab, worker, RESTART)
    wait_until(lambda: a.downloads(PAGE) and b.downloads(PAGE), "the guests to reach the outside again", 30)
    time.sleep(1)
    assert (a.echoes(), b.echoes()) == before
    site.in_sync(*site.folder.glob("of-*.yaml"))


def test_a_host_of_an_earlier_version_is_converted_by_an_apply(own_site: Callable[..., Site]) -> None:
    site = own_site(2)
    a, b = both(site)
    pids = a.pid, b.pid
    for worker in OWNERS.values():
        on_host(site.lab, worker, OPENED)
    doctor = site.run("doctor")
    assert doctor.code != 0
    assert "br-int has fail_mode standalone" in doctor.out
    attack(a, b)
    before = b.echoes()
    site.apply(*site.folder.glob("of-*.yaml"))
    site.do("doctor")
    on_host(site.lab, "worker1", RESTART)
    on_host(site.lab, "worker2", RESTART)
    wait_until(lambda: a.downloads(PAGE) and b.downloads(PAGE), "the guests to reach the outside again", 30)
    assert b.echoes() == before
    assert (a.pid, b.pid) == pids, "no guest was restarted"
