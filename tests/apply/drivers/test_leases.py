"""Which addresses DHCP gives out: a real client asks the servers of a router and of the internet gateway."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from reconciler.apply.drivers.registry import DRIVERS
from reconciler.plan.resources import Reservation, Resource, address
from tests.apply.drivers.realhost import RealHost, real_host
from tests.apply.drivers.sample import RESERVATION, ROUTER, SEGMENT, UPLINK

pytestmark = pytest.mark.lab

WEB, DB = SEGMENT.leases
STRANGER = "52:54:00:00:0b:ad"
REQUEST, DECLINE, RELEASE = 3, 4, 7
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


def test_a_client_identifier_of_another_guest_takes_no_lease_from_it(host: RealHost) -> None:
    host.sh("ovs-vsctl add-port br-int second tag=100 -- set Interface second type=internal; ip link set second up")
    host.sh(f"ip link set second down address {DB.mac}; ip link set second up")
    same, log = f"-x 0x3d:01{WEB.mac.replace(':', '')}", f"{host.folder}/renewed"
    host.sh(f"ovs-vsctl set Port client tag=100; ip link set client down address {WEB.mac}; ip link set client up")
    client = f"busybox udhcpc -i client -f {same} -t 4 -T 1 -A 1 -s {host.folder}/show -p {log}.pid"
    host.sh(f"{client} > {log} 2>&1 & until grep -q ^bound {log}; do sleep 0.1; done")
    other = host.sh(f"busybox udhcpc -i second -n -q -f {same} -t 4 -T 1 -A 1 -s {host.folder}/show 2>&1")
    assert f"ip={DB.ip}" in other
    host.sh(f": > {log}; kill -USR1 $(cat {log}.pid); for _ in 1 2 3 4 5 6 7 8; do sleep 0.25; done")
    told = host.sh(f"cat {log}; kill $(cat {log}.pid); ovs-vsctl del-port br-int second")
    assert (f"renew ip={WEB.ip}" in told, "nak" in told.lower()) == (True, False), told


def test_a_vm_may_have_the_name_of_a_keyword_of_the_server(host: RealHost) -> None:
    leases = (replace(WEB, hostname="ignore"), replace(DB, hostname="infinite"))
    named = replace(SEGMENT, leases=leases)
    ensure(host, named)
    assert ask(host, 100, WEB.mac)["ip"] == WEB.ip
    assert ask(host, 100, DB.mac)["ip"] == DB.ip
    driver = DRIVERS[named.kind]
    fact = host.probe(driver, [named])[named.address]
    assert driver.ensure(named, fact, named) == ()
    ensure(host, SEGMENT)
    ignored = replace(RESERVATION, hostname="ignore")
    ensure(host, ignored)
    assert ask(host, 400, RESERVATION.mac)["ip"] == RESERVATION.ip
    ensure(host, RESERVATION)


@pytest.mark.parametrize("message", [DECLINE, RELEASE])
@pytest.mark.parametrize("vlan", [100, 400])
def test_a_guest_cannot_decline_or_release_the_address_of_another(host: RealHost, vlan: int, message: int) -> None:
    victim, server = (WEB, "192.168.100.1") if vlan == 100 else (RESERVATION, "10.60.7.1")
    attacker = DB.mac if vlan == 100 else "52:54:00:00:0a:03"
    if vlan == 400:
        ensure(host, replace(RESERVATION, address=address(Reservation, "x/a:eth0"), mac=attacker, ip="10.60.7.30"))
    assert ask(host, vlan, victim.mac, release=False)["ip"] == victim.ip
    leases = host.sh("cut -d ' ' -f 2-3 /var/lib/reconciler/uplink/leases") if vlan == 400 else ""
    send(host, vlan, attacker, dhcp_message(attacker, victim.mac, victim.ip, server, message))
    if vlan == 400:
        assert host.sh("cut -d ' ' -f 2-3 /var/lib/reconciler/uplink/leases") == leases
    assert ask(host, vlan, victim.mac).get("ip") == victim.ip
    assert ask(host, vlan, attacker)["ip"] != victim.ip, "the attacker is served, for itself"


def test_nor_within_a_conversation_that_the_gateway_has_answered(host: RealHost) -> None:
    attacker = replace(RESERVATION, address=address(Reservation, "x/b:eth0"), mac="52:54:00:00:0a:04", ip="10.60.7.31")
    ensure(host, attacker)
    assert ask(host, 400, RESERVATION.mac, release=False)["ip"] == RESERVATION.ip
    assert ask(host, 400, attacker.mac, release=False)["ip"] == attacker.ip
    talk = (attacker.ip, "10.60.7.1")
    renewal = dhcp_message(attacker.mac, attacker.mac, attacker.ip, "10.60.7.1", REQUEST, talk)
    send(host, 400, attacker.mac, renewal)
    forged = dhcp_message(attacker.mac, RESERVATION.mac, RESERVATION.ip, "10.60.7.1", DECLINE, talk)
    send(host, 400, attacker.mac, forged)
    assert ask(host, 400, RESERVATION.mac).get("ip") == RESERVATION.ip


def test_a_gateway_made_again_admits_all_that_have_a_reservation(host: RealHost) -> None:
    early = replace(RESERVATION, address=address(Reservation, "x/c:eth0"), mac="52:54:00:00:0a:05", ip="10.60.7.32")
    host.sh("nft delete table inet reconciler_uplink")
    ensure(host, early)
    host.sh("printf '# x/d:eth0\\n}; flush ruleset,a\\n' > /var/lib/reconciler/uplink/hosts.d/wrong")
    ensure(host, UPLINK)
    assert ask(host, 400, early.mac)["ip"] == early.ip
    assert ask(host, 400, RESERVATION.mac)["ip"] == RESERVATION.ip
    assert ask(host, 400, STRANGER) == {}
    host.sh("rm /var/lib/reconciler/uplink/hosts.d/wrong")


def dhcp_message(
    sender: str,
    client: str,
    ip: str,
    server: str,
    kind: int,
    ends: tuple[str, str] = ("0.0.0.0", "255.255.255.255"),  # noqa: S104 - nothing is bound
) -> str:
    """Return a frame, in hexadecimal, with a message of DHCP (RFC 2131) from one NIC and for another."""
    mac, chaddr = (bytes.fromhex(one.replace(":", "")) for one in (sender, client))
    options = bytes([53, 1, kind, 50, 4, *IPv4Address(ip).packed, 54, 4, *IPv4Address(server).packed, 255])
    fields = (1, 1, 6, 0, 7, 0, 0, IPv4Address(ip).packed, chaddr, b"\x63\x82\x53\x63")
    payload = struct.pack("!4BIHH4s12x16s192x4s", *fields) + options.ljust(64, b"\0")
    udp = struct.pack("!4H", 68, 67, 8 + len(payload), 0) + payload
    source, target = (IPv4Address(one).packed for one in ends)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, source, target)
    total = sum(struct.unpack("!10H", header))
    checksum = ~(total + (total >> 16)) & 0xFFFF
    header = header[:10] + struct.pack("!H", checksum) + header[12:]
    return (b"\xff" * 6 + mac + b"\x08\x00" + header + udp).hex()


def send(host: RealHost, vlan: int, mac: str, frame: str) -> None:
    """Send a frame as the guest with this MAC on this VLAN."""
    host.sh(f"ovs-vsctl set Port client tag={vlan}; ip link set client down address {mac}; ip link set client up")
    stations = Path(__file__).with_name("stations.py")
    said = host.sh(f'sleep 0.2; echo \'["client", "{frame}"]\' | {sys.executable} {stations} interface:client')
    assert said.strip() == "[]"
