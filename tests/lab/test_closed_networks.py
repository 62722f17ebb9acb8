"""A guest reaches private networks only if the cluster file opens them, and hosts never; its connections are bounded.

The outside of the lab gets the addresses that are closed, so that whatever is let out of the uplink is answered.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler.lab.folder import locate
from reconciler.lab.network import INTERNET, find
from tests.lab.site import Site, Vm, on_host, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.guests]

SLICE = """\
version: 1
name: reaching
owner: admin
vms:
  a: {flavor: cirros, worker: worker1, internet: true}
"""
OUTSIDE = "203.0.113.10"
OPENED, SHUT, METADATA = "10.1.0.10", "10.2.0.10", "169.254.169.254"
HOSTS = ("10.0.10.1", "198.51.100.50")
"""Addresses of worker1: its own, and a further one that the cluster file names."""

LIMIT = 16


def changed(site: Site, name: str, **fields: Any) -> Site:
    """Return the site with other fields in its cluster file; worker1 has a further address."""
    yaml = YAML(typ="safe")
    cluster = yaml.load(site.lab.cluster_file)
    cluster["workers"][0]["addresses"] = [HOSTS[1]]
    path: Path = site.folder / f"{name}.yaml"
    with path.open("w") as stream:
        yaml.dump(cluster | fields, stream)
    return replace(site, cluster=path)


def outside(site: Site, script: str) -> str:
    """Run a shell script in the outside of the lab, and return what it prints."""
    pid = find(locate(site.lab.name), INTERNET)
    argv = ["nsenter", f"--target={pid}", "--net", "--", "sh", "-euc", script]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def reached(vm: Vm) -> set[str]:
    """Return the addresses whose page the guest can fetch."""
    fetches = (
        f"(timeout 4 wget -q -O - http://{one}/ 2> /dev/null | grep -q reached && echo got {one}) &"
        for one in (OUTSIDE, OPENED, SHUT, METADATA, *HOSTS)
    )
    return set(re.findall(r"got (\S+)", vm.guest.run(f"{' '.join(fetches)} wait", check=False)))


@contextmanager
def connections(site: Site, vm: Vm, count: int) -> Iterator[Callable[[], int]]:
    """Let the guest open connections and leave them open; gives what counts those that the outside has."""
    vm.run(f"for i in $(seq {count}); do sleep 60 | nc {OUTSIDE} 80 > /dev/null 2>&1 & done; sleep 2")
    try:
        yield lambda: len(outside(site, "ss -Htn state established sport = :80").splitlines())
    finally:
        vm.run("killall sleep nc; sleep 1")


def test_private_networks_are_closed_until_they_are_opened_and_hosts_stay_closed(
    own_site: Callable[..., Site],
) -> None:
    first = own_site()
    site = changed(first, "closed")
    site.apply(site.write(SLICE))
    vm = site.vms("reaching")["a"]
    vm.settle()
    outside(site, "".join(f"ip address add {one}/32 dev gateway;" for one in (OPENED, SHUT, METADATA, *HOSTS)))
    on_host(site.lab, "gateway", f"ip route add {HOSTS[0]}/32 via 203.0.113.1")
    assert reached(vm) == {OUTSIDE}
    site.do("verify")

    opened = changed(first, "opened", allow_private=["10.1.0.0/16", "10.0.0.0/16", "198.51.100.0/24"])
    planned = opened.do("plan", site.write(SLICE)).out
    assert "allow_private = none -> 10.0.0.0/16, 10.1.0.0/16, 198.51.100.0/24" in planned
    opened.apply(site.write(SLICE))
    assert reached(vm) == {OUTSIDE, OPENED}
    opened.do("verify")
    opened.in_sync(site.write(SLICE))
    on_host(site.lab, "gateway", "nft insert rule inet reconciler_uplink guests accept")
    told = opened.run("verify")
    assert (told.code, reached(vm)) == (2, {OUTSIDE, OPENED, SHUT, METADATA, *HOSTS})
    for one, what in ((HOSTS[1], "a host's address in the cluster file"), (METADATA, "a metadata service of clouds")):
        assert f"undeclared path: packets from uplink/gateway reach {one}, {what}" in told.out

    site.apply(site.write(SLICE))
    assert reached(vm) == {OUTSIDE}

    few = changed(first, "few", limits={"connections": LIMIT})
    assert f"connections = 4096 -> {LIMIT}" in few.do("plan", site.write(SLICE)).out
    few.apply(site.write(SLICE))
    few.do("verify")
    few.in_sync(site.write(SLICE))
    with connections(site, vm, 2 * LIMIT) as count:
        assert 0 < count() <= LIMIT
    wait_until(lambda: vm.downloads(f"http://{OUTSIDE}/"), "connections that have ended not to count")
    site.apply(site.write(SLICE))
    with connections(site, vm, 2 * LIMIT) as count:
        assert count() == 2 * LIMIT
