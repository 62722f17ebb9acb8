"""A triangle over three workers: each pair has a link of its own, and the router joins all three segments."""

from __future__ import annotations

from itertools import permutations

import pytest

from tests.lab.site import EXAMPLES, Site

pytestmark = [pytest.mark.lab, pytest.mark.guests]


def test_each_pair_meets_on_its_link_and_all_meet_at_the_router(site: Site) -> None:
    site.apply(EXAMPLES / "triangle.yaml")
    vms = site.vms("triangle")
    assert {vm.worker for vm in vms.values()} == {"worker1", "worker2", "worker3"}
    for vm in vms.values():
        vm.settle()
    links = {
        frozenset(end.split(":")[0] for end in link["key"].split("--")): link for link in site.show("triangle")["links"]
    }
    assert len({link["vlan"] for link in links.values()}) == 3
    for pair, link in links.items():
        interfaces = {
            name: interface for name in pair for interface, nic in vms[name].nics.items() if nic["vlan"] == link["vlan"]
        }
        for one, other in permutations(pair):
            assert vms[one].pings(vms[other].ip(interfaces[other]), f"-I {interfaces[one]}")
        (third,) = vms.keys() - pair
        gateways = {each["gateway"] for ends, each in links.items() if third in ends}
        for name, interface in interfaces.items():
            hops = vms[third].run(f"traceroute -n -q 1 -w 2 -m 2 {vms[name].ip(interface)}").splitlines()[1:]
            assert [hop.split()[1] in gateways for hop in hops] == [True, False], "one router between them"
            assert vms[third].pings(vms[name].ip(interface))
    site.in_sync(EXAMPLES / "triangle.yaml")
