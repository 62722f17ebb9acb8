"""Which frames reach whom: two workers and a gateway as three bridges, joined by trunks, with stations on real TAPs."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from socket import inet_aton

import pytest

from reconciler.apply.drivers.registry import DRIVERS
from reconciler.plan.resources import Port, Resource
from reconciler.spec.models.names import Address, VlanId
from tests.apply.drivers.realhost import RealHost, real_host
from tests.apply.drivers.sample import GATEWAY_MAC, INTERNET_TRUNK, LINKED_PORT, TRUNK, UPLINK

pytestmark = pytest.mark.lab

Send = Callable[[str, bytes], list[str]]

BROADCAST = "ff:ff:ff:ff:ff:ff"
DHCP = (68, 67)  # the ports of a client and of a server
MACS = {name: f"52:54:00:00:00:{number:02x}" for number, name in enumerate(("a", "b", "c", "d", "e", "f"), 1)}
IPS = {name: f"10.60.7.{10 + number}" for number, name in enumerate(MACS)}
GATEWAY_IP = "10.60.7.1"
OF_MACS = {MACS[name]: IPS[name] for name in MACS}
UNKNOWN = "0.0.0.0"  # noqa: S104 - what a guest without an address sends from
_FABRIC = """
ovs-vsctl add-br fabric -- set bridge fabric datapath_type=netdev
for node in br-int br-two br-gw; do
    ovs-vsctl --may-exist add-br $node -- set bridge $node datapath_type=netdev
    ip link add t-$node type veth peer name f-$node
    ip link set t-$node up
    ip link set f-$node up
    ovs-vsctl add-port $node t-$node trunks=4094 -- add-port fabric f-$node
done
"""


def station(name: str, bridge: str, vlan: int | None, gateway_mac: str | None = None) -> Port:
    return replace(
        LINKED_PORT,
        address=Address(f"port/alice/lab1/{name}:eth0"),
        tap=name,
        mac=MACS[name],
        bridge=bridge,
        vlan=None if vlan is None else VlanId(vlan),
        gateway_mac=gateway_mac,
        ip=IPS[name] if gateway_mac else None,
    )


PORTS = (
    station("a", "br-int", 400, GATEWAY_MAC),
    station("b", "br-int", 400, GATEWAY_MAC),
    station("c", "br-two", 400, GATEWAY_MAC),
    station("d", "br-int", 100),
    station("e", "br-two", 100),
    station("f", "br-int", None),
)


def trunk(model: Resource, bridge: str) -> Resource:
    return replace(model, address=Address(f"{model.address}-{bridge}"), bridge=bridge, port=f"t-{bridge}")  # type: ignore[call-arg]


WIRING: tuple[Resource, ...] = (
    replace(UPLINK, bridge="br-gw"),
    *(trunk(TRUNK, bridge) for bridge in ("br-int", "br-two", "br-gw")),
    *(trunk(INTERNET_TRUNK, bridge) for bridge in ("br-int", "br-two")),
    trunk(replace(INTERNET_TRUNK, gateway_mac=None), "br-gw"),
    *PORTS,
)


@pytest.fixture(scope="module")
def host() -> Iterator[RealHost]:
    with real_host() as one:
        one.sh(_FABRIC)
        for resource in WIRING:
            driver = DRIVERS[resource.kind]
            one.perform(driver.ensure(resource, one.probe(driver, [resource])[resource.address], None))
        yield one


@pytest.fixture(scope="module")
def send(host: RealHost) -> Iterator[Send]:
    """Send a frame from a station; returns the names of the stations that it reaches."""
    program = str(Path(__file__).parent / "stations.py")
    names = [*(f"tap:{port.tap}" for port in PORTS), "interface:internet"]
    argv = host.argv([sys.executable, program, *names])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def one(sender: str, data: bytes) -> list[str]:
            stdin.write(json.dumps([sender, data.hex()]) + "\n")
            stdin.flush()
            found: list[str] = json.loads(stdout.readline())
            return found

        yield one
        stdin.close()


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def frame(to: str, sender: str, kind: int, payload: bytes, *, tag: int | None = None) -> bytes:
    vlan = b"" if tag is None else struct.pack("!HH", 0x8100, tag)
    return (mac(to) + mac(sender) + vlan + struct.pack("!H", kind) + payload).ljust(64, b"\0")


def ip(
    to: str, sender: str, *, address: str = "", ports: tuple[int, int] = (5000, 5001), tag: int | None = None
) -> bytes:
    """Form a datagram; its address is the sender's own unless another is named."""
    udp = struct.pack("!HHHH", *ports, 8, 0)
    ends = inet_aton(address or OF_MACS.get(sender, GATEWAY_IP)) + inet_aton("10.60.7.255")
    return frame(to, sender, 0x0800, struct.pack("!BBHHHBBH", 0x45, 0, 28, 1, 0, 64, 17, 0) + ends + udp, tag=tag)


def arp(operation: int, to: str, sender: str, *, claims: str = "", address: str = "") -> bytes:
    """Form an ARP frame; it claims the sender's own MAC and address unless others are named."""
    own = mac(claims or sender) + inet_aton(address or OF_MACS.get(sender, GATEWAY_IP))
    return frame(
        to,
        sender,
        0x0806,
        struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + own + bytes(6) + inet_aton(GATEWAY_IP),
    )


def test_a_guest_on_the_internet_reaches_the_gateway_alone(send: Send) -> None:
    assert send("a", ip(GATEWAY_MAC, MACS["a"])) == ["internet"]
    assert send("c", ip(GATEWAY_MAC, MACS["c"])) == ["internet"]
    for other in ("b", "c", "d", "e", "f"):
        assert send("a", ip(MACS[other], MACS["a"])) == []
        assert "a" not in send(other, ip(MACS["a"], MACS[other]))


def test_its_broadcasts_are_arp_and_dhcp_and_reach_the_gateway_alone(send: Send) -> None:
    for name in ("a", "b", "c"):
        assert send(name, arp(1, BROADCAST, MACS[name])) == ["internet"]
        assert send(name, ip(BROADCAST, MACS[name], ports=DHCP)) == ["internet"]
        assert send(name, ip(BROADCAST, MACS[name])) == []
        assert send(name, arp(2, BROADCAST, MACS[name])) == []


@pytest.mark.parametrize("to", [GATEWAY_MAC, BROADCAST, "33:33:00:00:00:01"])
@pytest.mark.parametrize("kind", [0x86DD, 0x88B5], ids=["IPv6", "an experiment"])
def test_it_speaks_neither_ipv6_nor_anything_else_there(send: Send, to: str, kind: int) -> None:
    assert send("a", frame(to, MACS["a"], kind, b"\x60" + bytes(39))) == []


def test_without_an_address_it_may_ask_for_one_and_probe_it_and_nothing_else(send: Send) -> None:
    sender = MACS["a"]
    assert send("a", ip(BROADCAST, sender, address=UNKNOWN, ports=DHCP)) == ["internet"]
    assert send("a", arp(1, BROADCAST, sender, address=UNKNOWN)) == ["internet"]
    for frame_out in (
        ip(BROADCAST, sender, address=UNKNOWN),
        ip(GATEWAY_MAC, sender, address=UNKNOWN),
        arp(2, GATEWAY_MAC, sender, address=UNKNOWN),
    ):
        assert send("a", frame_out) == []


def test_it_renews_its_lease_by_unicast(send: Send) -> None:
    assert send("a", ip(GATEWAY_MAC, MACS["a"], ports=DHCP)) == ["internet"]
    assert send("a", ip(GATEWAY_MAC, MACS["a"], address=IPS["b"], ports=DHCP)) == []


def test_it_tells_the_gateway_who_it_is_when_asked(send: Send) -> None:
    for operation in (1, 2):
        assert send("a", arp(operation, GATEWAY_MAC, MACS["a"])) == ["internet"]
        assert send("a", arp(operation, MACS["b"], MACS["a"])) == []


@pytest.mark.parametrize("stolen", [IPS["b"], IPS["c"], "10.60.7.99", GATEWAY_IP, "203.0.113.10"])
def test_another_s_address_is_neither_sent_from_nor_claimed(send: Send, stolen: str) -> None:
    for operation, to in ((1, BROADCAST), (2, BROADCAST), (1, GATEWAY_MAC), (2, GATEWAY_MAC)):
        assert send("a", arp(operation, to, MACS["a"], address=stolen)) == []
    assert send("a", ip(GATEWAY_MAC, MACS["a"], address=stolen)) == []
    assert send("a", ip(BROADCAST, MACS["a"], address=stolen, ports=DHCP)) == []


def test_the_gateway_reaches_every_guest_on_the_internet(send: Send) -> None:
    assert send("internet", arp(1, BROADCAST, GATEWAY_MAC)) == ["a", "b", "c"]
    assert send("internet", ip(MACS["a"], GATEWAY_MAC)) == ["a"]
    assert send("internet", ip(MACS["c"], GATEWAY_MAC)) == ["c"]


def test_a_guest_has_no_mac_but_its_own(send: Send) -> None:
    assert send("a", ip(GATEWAY_MAC, MACS["b"], address=IPS["a"])) == []
    assert send("a", ip(GATEWAY_MAC, GATEWAY_MAC, address=IPS["a"])) == []
    assert send("a", arp(1, BROADCAST, MACS["a"], claims=MACS["b"])) == []
    assert send("a", arp(2, GATEWAY_MAC, MACS["a"], claims=MACS["b"])) == []
    assert send("d", ip(MACS["e"], MACS["a"])) == []
    assert send("d", ip(BROADCAST, GATEWAY_MAC)) == []


def test_a_link_carries_everything_between_its_ends_and_nothing_elsewhere(send: Send) -> None:
    assert send("d", ip(BROADCAST, MACS["d"])) == ["e"]
    assert send("e", ip(MACS["d"], MACS["e"])) == ["d"]
    assert send("d", frame(MACS["e"], MACS["d"], 0x88B5, b"an experiment")) == ["e"]


@pytest.mark.parametrize("tag", [0, 100, 400, 0x2000])
def test_no_guest_chooses_its_vlan(send: Send, tag: int) -> None:
    assert send("a", ip(GATEWAY_MAC, MACS["a"], tag=tag)) == []
    assert send("d", ip(BROADCAST, MACS["d"], tag=tag)) == []


def test_an_unlinked_card_reaches_nothing(send: Send) -> None:
    assert send("f", ip(BROADCAST, MACS["f"])) == ["not sent: Input/output error"]


def test_a_link_changes_under_an_open_tap(host: RealHost, send: Send) -> None:
    driver = DRIVERS[LINKED_PORT.kind]
    linked = station("f", "br-int", 100)
    host.perform(driver.ensure(linked, host.probe(driver, [linked])[linked.address], PORTS[-1]))
    assert send("f", ip(BROADCAST, MACS["f"])) == ["d", "e"]
    host.perform(driver.ensure(PORTS[-1], host.probe(driver, [linked])[linked.address], linked))
    assert send("f", ip(BROADCAST, MACS["f"])) == ["not sent: Input/output error"]
    assert send("d", ip(BROADCAST, MACS["d"])) == ["e"]
