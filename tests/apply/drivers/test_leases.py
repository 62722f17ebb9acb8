"""Which addresses DHCP gives out: a real client asks the servers of a router and of the internet gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from reconciler.apply.drivers.registry import DRIVERS
from reconciler.plan.resources import Reservation, Resource, address
from tests.apply.drivers.realhost import RealHost, real_host
from tests.apply.drivers.sample import RESERVATION, ROUTER, SEGMENT, UPLINK

pytestmark = pytest.mark.lab

WEB, DB = SEGMENT.leases
STRANGER = "52:54:00:00:0b:ad"
_SHOW = '#!/bin/sh\necho "$1 ip=$ip router=$router dns=$dns mtu=$mtu"\n'


@pytest.fixture(scope="module")
def host() -> Iterator[RealHost]:
    with real_host() as one:
        one.sh("ovs-vsctl add-port br-int client -- set Interface client type=internal; ip link set client up")
        (one.folder / "show").write_text(_SHOW)
        (one.folder / "show").chmod(0o755)
        for resource in (UPLINK, RESERVATION, ROUTER, SEGMENT):
            ensure(one, resource)
        yield one


def ensure(host: RealHost, resource: Resource) -> None:
    driver = DRIVERS[resource.kind]
    host.perform(driver.ensure(resource, host.probe(driver, [resource])[resource.address], resource))


def remove(host: RealHost, resource: Resource) -> None:
    driver = DRIVERS[resource.kind]
    host.perform(driver.remove(resource, host.probe(driver, [resource])[resource.address]))


def ask(host: RealHost, vlan: int, mac: str, *, release: bool = True) -> dict[str, str]:
    """Ask for an address as a guest with this MAC on this VLAN; returns what it is told, nothing if nobody answers."""
    host.sh(f"ovs-vsctl set Port client tag={vlan}; ip link set client down address {mac}; ip link set client up")
    flags = "-R" if release else ""
    said = host.sh(f"busybox udhcpc -i client -n -q -f {flags} -t 4 -T 1 -A 1 -s {host.folder}/show 2>&1 || :")
    bound = re.search(r"^bound (.*)$", said, re.MULTILINE)
    return dict(re.findall(r"(\w+)=(\S+)", bound[1])) if bound else {}


def test_each_card_of_a_link_gets_its_own_address_and_a_route_only_where_told(host: RealHost) -> None:
    assert ask(host, 100, WEB.mac) == {"ip": WEB.ip, "mtu": "1500"}
    assert ask(host, 100, DB.mac) == {"ip": DB.ip, "mtu": "1500", "router": "192.168.100.1"}
    assert ask(host, 100, STRANGER) == {}


def test_a_vm_on_the_internet_gets_its_address_the_gateway_and_dns(host: RealHost) -> None:
    expected = {"ip": RESERVATION.ip, "router": "10.60.7.1", "dns": "9.9.9.9"}
    assert ask(host, 400, RESERVATION.mac) == expected
    assert ask(host, 400, STRANGER) == {}


def test_an_address_goes_to_the_next_vm_although_the_last_still_leased_it(host: RealHost) -> None:
    first = replace(RESERVATION, address=address(Reservation, "x/y:eth0"), mac="52:54:00:00:0a:01", ip="10.60.7.20")
    ensure(host, first)
    assert ask(host, 400, first.mac, release=False)["ip"] == "10.60.7.20"
    remove(host, first)
    assert ask(host, 400, first.mac) == {}
    following = replace(first, address=address(Reservation, "x/z:eth0"), mac="52:54:00:00:0a:02")
    ensure(host, following)
    assert ask(host, 400, following.mac)["ip"] == "10.60.7.20"
    assert ask(host, 400, RESERVATION.mac)["ip"] == RESERVATION.ip


def test_a_link_without_dhcp_answers_nobody(host: RealHost) -> None:
    ensure(host, replace(SEGMENT, dhcp=False))
    assert ask(host, 100, WEB.mac) == {}
    ensure(host, SEGMENT)
    assert ask(host, 100, WEB.mac)["ip"] == WEB.ip
