"""A storm of broadcasts from a guest is cut at its own port, also after its switch has restarted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.lab.site import Site, Vm, on_host, wait_until
from tests.lab.test_switch_restart import RESTART

pytestmark = [pytest.mark.lab, pytest.mark.guests]

SLICE = """\
version: 1
name: stormy
owner: admin
defaults: {flavor: cirros}
vms:
  a: {worker: worker1}
  b: {worker: worker2}
links:
  - [a, b]
"""
LIMIT = 50
SENT = 4 * 300


def limited(site: Site, limits: dict[str, object]) -> Site:
    """Return the site with other limits in its cluster file."""
    yaml = YAML(typ="safe")
    cluster = yaml.load(site.lab.cluster_file)
    path: Path = site.folder / f"limits-{'-'.join(map(str, limits.values()))}.yaml"
    with path.open("w") as stream:
        yaml.dump(cluster | {"limits": limits}, stream)
    return replace(site, cluster=path)


def received(vm: Vm) -> int:
    """Return how many packets the guest has received on its link."""
    return int(vm.guest.run("cat /sys/class/net/eth1/statistics/rx_packets"))


def storm(sender: Vm, other: Vm) -> tuple[int, float]:
    """Send broadcasts as fast as the guest can; return how many packets the other one got, and in how many seconds."""
    before, start = received(other), time.monotonic()
    sender.guest.run(
        f"for n in 1 2 3 4; do ping -q -i 0.001 -c {SENT // 4} -W 1 255.255.255.255 > /dev/null & done; wait"
    )
    return received(other) - before, time.monotonic() - start


def test_a_storm_is_cut_at_the_port_it_comes_from(own_site: Callable[..., Site]) -> None:
    free = limited(own_site(2), {"broadcast": None})
    free.apply(free.write(SLICE))
    vms = free.vms("stormy")
    a, b = vms["a"], vms["b"]
    for vm in (a, b):
        vm.settle()
    pids = a.pid, b.pid
    assert storm(a, b)[0] >= SENT * 0.9

    site = limited(free, {"broadcast": LIMIT})
    planned = site.do("plan", site.write(SLICE)).out
    assert f"broadcast = none -> {LIMIT}" in planned
    assert "Plan: 0 to add, 2 to change, 0 to replace, 0 to destroy." in planned
    site.apply(site.write(SLICE))
    for _ in range(2):
        found, seconds = storm(a, b)
        assert LIMIT <= found <= LIMIT * (seconds + 2)
        assert a.pings(b.ip("eth1"))
        site.in_sync(site.write(SLICE))
        site.do("verify")
        on_host(site.lab, "worker1", RESTART)
        wait_until(lambda: a.pings(b.ip("eth1")), "the guests to reach each other again", 30)
    on_host(site.lab, "worker1", "ovs-ofctl -O OpenFlow13 del-meters br-int")
    told = site.run("drift")
    assert told.code == 2, told.told
    assert "port/admin/stormy/a:eth1" in told.out
    site.apply(site.write(SLICE))
    site.in_sync(site.write(SLICE))
    assert (a.pid, b.pid) == pids
