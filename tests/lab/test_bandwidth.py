"""A guest sends and receives no faster than the bandwidth of the cluster file, which changes while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.lab.site import Site, Vm, on_host, wait_until
from tests.lab.test_storms import limited
from tests.lab.test_switch_restart import RESTART

pytestmark = [pytest.mark.lab, pytest.mark.guests]

SLICE = """\
version: 1
name: slow
owner: admin
defaults: {flavor: cirros}
vms:
  a: {worker: worker1, internet: true}
  b: {worker: worker2}
links:
  - [a, b]
"""
UNMETERED = """
of='ovs-ofctl -O OpenFlow13'
for number in $($of dump-meters br-int | sed -n 's/meter=\\([0-9]*\\) kbps.*/\\1/p'); do
    $of mod-meter br-int "meter=$number,kbps,burst,band=type=drop,rate=900000,burst_size=900000"
done
"""
MBIT = 5
MEGABYTES = 4
# Seconds that a transfer takes at least: a quarter of a second's bits may pass at once.
LEAST = MEGABYTES * 2**20 * 8 / (MBIT * 10**6) - 0.25


def transfer(sender: Vm, receiver: Vm) -> float:
    """Send some megabytes over the link by TCP; return the seconds that it took."""
    receiver.guest.run("(sleep 90 | nc -l -p 9000 | wc -c > /tmp/got) > /dev/null 2>&1 & sleep 1")
    start = time.monotonic()
    sender.guest.run(f"dd if=/dev/zero bs=64k count={MEGABYTES * 16} | nc {receiver.ip('eth1')} 9000", timeout=90)
    seconds = time.monotonic() - start
    wait_until(lambda: receiver.guest.run("cat /tmp/got") == str(MEGABYTES * 2**20), "all bytes to arrive", 10)
    return seconds


def broadcasts(sender: Vm, receiver: Vm) -> float:
    """Send large broadcasts as fast as the guest can; return how many megabits arrived in a second."""
    count = "cat /sys/class/net/eth1/statistics/rx_bytes"
    before, start = int(receiver.guest.run(count)), time.monotonic()
    ping = "ping -q -I eth1 -i 0.001 -s 6000 -c 500 -W 1 255.255.255.255 > /dev/null"
    sender.guest.run(f"for n in 1 2 3 4; do {ping} & done; wait", timeout=60)
    return (int(receiver.guest.run(count)) - before) * 8 / 10**6 / (time.monotonic() - start)


def test_a_bandwidth_bounds_both_directions_and_changes_live(own_site: Callable[..., Site]) -> None:
    free = limited(own_site(2), {"broadcast": None})
    free.apply(free.write(SLICE))
    vms = free.vms("slow")
    a, b = vms["a"], vms["b"]
    for vm in (a, b):
        vm.settle()
    pids = a.pid, b.pid
    assert transfer(a, b) < 0.8 * LEAST
    assert broadcasts(a, b) > 1.5 * MBIT

    site = limited(free, {"broadcast": None, "bandwidth": f"{MBIT}Mbit"})
    planned = site.do("plan", site.write(SLICE)).out
    assert f"bandwidth = none -> {MBIT}Mbit" in planned
    assert "Plan: 0 to add, 3 to change, 0 to replace, 0 to destroy." in planned
    site.apply(site.write(SLICE))
    for _ in range(2):
        site.in_sync(site.write(SLICE))
        site.do("verify")
        assert LEAST < transfer(a, b) < 2 * LEAST
        assert broadcasts(a, b) < 1.2 * MBIT
        for worker in ("worker1", "worker2"):
            on_host(site.lab, worker, RESTART)
        wait_until(lambda: a.pings(b.ip("eth1")), "the guests to reach each other again", 30)

    on_host(site.lab, "worker2", f"tc qdisc delete dev {b.nics['eth1']['tap']} root")
    assert transfer(a, b) > LEAST, "what a guest sends has a limit of its own"
    site.apply(site.write(SLICE))
    on_host(site.lab, "worker1", UNMETERED)
    assert transfer(a, b) > LEAST, "what a guest receives has a limit of its own"
    told = site.run("drift")
    assert told.code == 2, told.told
    assert "port/admin/slow/a:eth1" in told.out

    free.apply(free.write(SLICE))
    free.in_sync(free.write(SLICE))
    assert transfer(a, b) < 0.8 * LEAST
    for worker in ("worker1", "worker2"):
        assert " tbf " not in on_host(site.lab, worker, "tc qdisc show")
        assert "kbps" not in on_host(site.lab, worker, "ovs-ofctl -O OpenFlow13 dump-meters br-int")
    assert (a.pid, b.pid) == pids
