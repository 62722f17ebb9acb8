"""Packets between routers: what is declared passes, and each way that is opened by hand is named with its hops.

The kernel of the network node is written here as `ip` and `nft` print it; the lab's tests read real ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest

from reconciler.plan.resources import Resource, Segment, StationRole, Uplink
from reconciler.spec.models.names import HostName
from reconciler.verify.declared import Declared, declare
from reconciler.verify.eavesdropping import Mirror, mirrors_of_declared, stacked_interfaces
from reconciler.verify.namespace import Inside, Namespace, parse_namespace
from reconciler.verify.probes import LivePort, Switch
from reconciler.verify.routing import compare_packets, network_of
from reconciler.verify.rules import Packet
from reconciler.verify.verification import Routed, Violation
from tests.plan.examples import LAB1, LAB2, lab, plan

GATEWAY = HostName("gateway")
LINE = lab(("a", "b", "c"), [["a", "b"], {"endpoints": ["b", "c"]}, {"endpoints": ["a", "c"], "gateway": False}])
OTHERS = lab({"d": {"internet": True}, "e": {}}, [["d", "e"]], key=LAB2)
MADE: list[Resource] = [change.after for change in plan(LINE, OTHERS).changes if change.after is not None]
DECLARED = declare(MADE)
SEGMENTS = {str(one.address): one for one in MADE if isinstance(one, Segment)}
AB = SEGMENTS["segment/alice/lab1/a:eth1--b:eth1"]
BC = SEGMENTS["segment/alice/lab1/b:eth2--c:eth2"]
AC = SEGMENTS["segment/alice/lab1/a:eth2--c:eth1"]
DE = SEGMENTS["segment/bob/lab2/d:eth1--e:eth1"]
(UPLINK,) = (one for one in MADE if isinstance(one, Uplink))


@dataclass
class Kernel:
    """One namespace, to be changed by a test before it is printed."""

    name: str
    links: dict[str, dict[str, Any]] = field(default_factory=dict)
    routes: list[dict[str, Any]] = field(default_factory=list)
    policy: list[dict[str, Any]] = field(default_factory=list)
    rules: list[dict[str, Any]] = field(default_factory=list)
    forwarding: set[str] = field(default_factory=set)
    ipv6: set[str] = field(default_factory=set)
    forwards_ipv6: bool = False

    def interface(self, name: str, ip: str | None = None, **more: Any) -> None:
        addresses = [] if ip is None else [{"family": "inet", "local": str(IPv4Interface(ip).ip)}]
        index = {"ifindex": 100 * len(self.name) + len(self.links)}
        self.links[name] = {"ifname": name, "flags": ["UP"], "addr_info": addresses} | index | more
        if ip is not None:
            self.routes.append({"dst": str(IPv4Interface(ip).network), "dev": name, "type": "unicast"})
            self.routes.append({"dst": str(IPv4Interface(ip).ip), "dev": name, "type": "local", "table": "local"})

    def chain(self, family: str, table: str, hook: str, policy: str, *rules: list[Any]) -> None:
        at = {"family": family, "table": table}
        self.rules.append({"chain": {**at, "name": hook, "hook": hook, "policy": policy}})
        self.rules += [{"rule": {**at, "chain": hook, "expr": rule}} for rule in rules]

    def printed(self) -> Namespace:
        plain = [{"priority": n, "src": "all", "table": name} for n, name in enumerate(("local", "main", "default"))]
        documents = ([*self.links.values()], [*self.links.values()], self.routes, [*self.policy, *plain])
        settings = {name: (name in self.forwarding, name not in self.ipv6) for name in self.links}
        network = " ".join(map(json.dumps, documents))
        return parse_namespace(self.name, json.dumps({"nftables": self.rules}), network, settings, self.forwards_ipv6)


def meta(key: str, right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": right}}


ACCEPT, DROP = {"accept": None}, {"drop": None}


def router(*segments: Segment) -> Kernel:
    """Return a router as its driver makes it."""
    kernel = Kernel(segments[0].namespace)
    for one in segments:
        kernel.interface(one.interface, one.ip)
        kernel.forwarding.add(one.interface)
    members = [one.interface for one in segments if one.gateway]
    kernel.rules.append({"set": {"family": "inet", "table": "reconciler", "name": "gateways", "elem": members}})
    allowed = [meta("iifname", "@gateways"), meta("oifname", "@gateways"), ACCEPT]
    kernel.chain("inet", "reconciler", "forward", "drop", allowed)
    return kernel


def node() -> Kernel:
    """Return the network node as the uplink's driver leaves it."""
    kernel = Kernel("")
    kernel.interface(UPLINK.interface, UPLINK.ip)
    kernel.interface(UPLINK.uplink, "203.0.113.2/24")
    kernel.interface("ens9", "10.0.10.254/24")
    kernel.routes.append({"dst": "default", "gateway": "203.0.113.1", "dev": UPLINK.uplink})
    kernel.forwarding = {UPLINK.interface, UPLINK.uplink}
    inside, outside = UPLINK.interface, UPLINK.uplink
    replies = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}
    kernel.chain(
        "inet",
        "reconciler_uplink",
        "forward",
        "accept",
        [meta("iifname", inside), meta("oifname", outside), ACCEPT],
        [meta("iifname", outside), meta("oifname", inside), replies, ACCEPT],
        [meta("iifname", inside), DROP],
        [meta("oifname", inside), DROP],
    )
    return kernel


@dataclass
class Hosts:
    """The network node, with its own namespace and two routers."""

    node: Kernel = field(default_factory=node)
    one: Kernel = field(default_factory=lambda: router(AB, BC, AC))
    two: Kernel = field(default_factory=lambda: router(DE))
    more: list[Kernel] = field(default_factory=list)

    def compared(self, declared: Declared = DECLARED) -> tuple[Routed, list[str]]:
        """Return the counts, and each violation as text."""
        spaces = [kernel.printed() for kernel in (self.node, self.one, self.two, *self.more)]
        network = network_of(declared, SWITCH, GATEWAY, spaces)
        routed, violations = compare_packets(declared, {GATEWAY: network})
        return routed, [*map(str, violations)]

    def cable(self, one: Kernel, other: Kernel, net: str = "10.99.0") -> None:
        """Lay a veth: `x` with .1 in the one, `y` with .2 in the other; both forward, and are gateways if routers."""
        one.interface("x", f"{net}.1/30", ifindex=7001, link_index=7002, linkinfo={"info_kind": "veth"})
        other.interface("y", f"{net}.2/30", ifindex=7002, link_index=7001, linkinfo={"info_kind": "veth"})
        for kernel, name in ((one, "x"), (other, "y")):
            kernel.forwarding.add(name)
            for entry in kernel.rules:
                if "set" in entry:
                    entry["set"]["elem"].append(name)


def switch_of(host: HostName) -> Switch:
    here = [one for one in DECLARED.stations.values() if one.host == host and one.vlan is not None]
    ports = [LivePort(host, one.interface, at, one.vlan, owner=one.address) for at, one in enumerate(here, start=2)]
    return Switch("br-int", LivePort(host, "ens4", 1, None), tuple(ports))


SWITCH = switch_of(GATEWAY)
ENDS = len(SEGMENTS) + 2
WANTED = 2 + 1
"""Two gateways of one slice reach each other, and the internet VLAN the outside."""


def net(segment: Segment) -> str:
    return str(IPv4Interface(segment.ip).network)


def named(told: list[str], one: str, other: str) -> str:
    (found,) = [line for line in told if f" packets from {one} reach {other} (" in line]
    return found


def test_a_network_as_declared_is_verified() -> None:
    routed, told = Hosts().compared()
    assert told == []
    assert routed == Routed(WANTED, ENDS * (ENDS - 1) + 1 - WANTED)


def test_a_slice_is_verified_on_its_own() -> None:
    hosts = Hosts()
    hosts.one.rules[0]["set"]["elem"].append(AC.interface)
    network = network_of(DECLARED, SWITCH, GATEWAY, [kernel.printed() for kernel in (hosts.node, hosts.one, hosts.two)])
    routed, violations = compare_packets(DECLARED, {GATEWAY: network}, {LAB2})
    assert (routed, violations) == (Routed(0, 2 * (ENDS - 1)), ())
    assert len(compare_packets(DECLARED, {GATEWAY: network}, {LAB1})[1]) == 5, "four ways, and a strange gateway"


def test_a_cable_between_two_slices_is_named_with_its_hops() -> None:
    hosts = Hosts()
    hosts.cable(hosts.one, hosts.two)
    hosts.one.routes.append({"dst": net(DE), "gateway": "10.99.0.2", "dev": "x"})
    routed, told = hosts.compared()
    way = named(told, AB.address, DE.address)
    assert way.endswith(
        f" into {AB.interface} in the namespace {AB.namespace} on gateway, then out of x, then into y in the namespace"
        f" {DE.namespace}, then out of {DE.interface})"
    )
    assert named(told, BC.address, DE.address)
    assert not any(f"packets from {AC.address}" in line for line in told), "it is no gateway"
    assert routed.absent == ENDS * (ENDS - 1) + 1 - WANTED - 2
    assert sum("forwards for" in line for line in told) == 2


def test_a_cable_without_a_route_leads_nowhere() -> None:
    hosts = Hosts()
    hosts.cable(hosts.one, hosts.two)
    assert all("forwards for" in line for line in hosts.compared()[1])


def test_the_node_forwards_between_slices() -> None:
    hosts = Hosts()
    hosts.cable(hosts.one, hosts.node)
    hosts.one.routes.append({"dst": "default", "gateway": "10.99.0.2", "dev": "x"})
    _, told = hosts.compared()
    assert "out of x, then into y in the host's own namespace, then out of ens3" in named(
        told, AB.address, "the outside behind ens3 of gateway"
    )
    assert named(told, AB.address, "the interface ens9 in the host's own namespace on gateway")
    assert not any(f"reach {UPLINK.address}" in line for line in told), "the uplink's own rules drop it"
    hosts.node.forwarding.discard("y")
    assert all("forwards for" in line for line in hosts.compared()[1])


def test_a_path_through_an_unowned_namespace_and_its_bridge() -> None:
    hosts, space = Hosts(), Kernel("between")
    hosts.more.append(space)
    space.interface("br0", linkinfo={"info_kind": "bridge"})
    for at, (kernel, mine) in enumerate(((hosts.one, "x"), (hosts.two, "y"))):
        kernel.interface(
            mine, f"10.99.0.{at + 1}/30", ifindex=8000 + at, link_index=9000 + at, linkinfo={"info_kind": "veth"}
        )
        kernel.forwarding.add(mine)
        kernel.rules[0]["set"]["elem"].append(mine)
        space.interface(f"p{at}", ifindex=9000 + at, link_index=8000 + at, linkinfo={"info_kind": "veth"}, master="br0")
    hosts.one.routes.append({"dst": net(DE), "gateway": "10.99.0.2", "dev": "x"})
    way = named(hosts.compared()[1], AB.address, DE.address)
    assert "into p0 in the namespace between, then out of br0, then out of p1, then into y in the namespace" in way


def test_a_segment_that_should_not_be_a_gateway_and_a_chain_that_was_opened() -> None:
    hosts = Hosts()
    hosts.one.rules[1]["chain"]["policy"] = "accept"
    routed, told = hosts.compared()
    assert {(AB.address, AC.address), (AC.address, AB.address), (BC.address, AC.address), (AC.address, BC.address)} == {
        (line.split(" packets from ")[1].split(" ")[0], line.split(" reach ")[1].split(" ")[0]) for line in told
    }
    assert routed.absent == ENDS * (ENDS - 1) + 1 - WANTED - 4


@pytest.mark.parametrize(
    "statement", [{"limit": {}}, {"match": {"op": "==", "left": {"numgen": 1}, "right": 0}}, {"xt": 0}]
)
def test_an_unknown_statement_counts_as_the_worst_case(statement: dict[str, Any]) -> None:
    hosts = Hosts()
    hosts.one.rules.insert(
        2, {"rule": {"family": "inet", "table": "reconciler", "chain": "forward", "expr": [statement, ACCEPT]}}
    )
    assert named(hosts.compared()[1], AC.address, AB.address)
    hosts = Hosts()
    hosts.one.chain("ip", "foreign", "forward", "accept", [statement, DROP])
    routed, told = hosts.compared()
    assert routed.present == 1
    assert [line for line in told if "missing path" in line and "there ip foreign forward may drop it" in line] == told


def test_the_uplink_lets_nobody_back_nor_in() -> None:
    hosts = Hosts()
    opened = [meta("oifname", UPLINK.interface), ACCEPT]
    hosts.node.rules.insert(
        1, {"rule": {"family": "inet", "table": "reconciler_uplink", "chain": "forward", "expr": opened}}
    )
    _, told = hosts.compared()
    assert named(told, UPLINK.address, UPLINK.address)
    assert named(told, "the outside behind ens3 of gateway", UPLINK.address)
    assert len(told) == 2


def test_addresses_changed_by_rules_are_followed() -> None:
    hosts = Hosts()
    hosts.cable(hosts.node, hosts.two)
    dnat = {"dnat": {"addr": str(IPv4Interface(DE.ip).network[2])}}
    hosts.node.chain("ip", "leak", "prerouting", "accept", [meta("iifname", UPLINK.uplink), dnat])
    hosts.node.routes.append({"dst": net(DE), "gateway": "10.99.0.2", "dev": "x", "table": "7"})
    hosts.node.policy = [{"priority": 0, "src": "all", "fwmark": "0x1", "table": "7"}]
    way = named(hosts.compared()[1], "the outside behind ens3 of gateway", DE.address)
    assert "there sent to" in way
    assert "out of x, then into y in the namespace" in way


def test_a_packet_copied_by_a_rule_is_followed() -> None:
    hosts = Hosts()
    hosts.one.chain("netdev", "tap", "ingress", "accept", [{"dup": {"dev": "x"}}])
    hosts.one.rules[-2]["chain"]["dev"] = AC.interface
    hosts.cable(hosts.one, hosts.two)
    hosts.two.forwarding.discard("y")
    hosts.one.links["x"]["linkinfo"] = {}
    way = named(hosts.compared()[1], AC.address, f"the interface x in the namespace {AB.namespace} on gateway")
    assert "there copied or redirected by a rule" in way


def test_ipv6_is_followed_where_it_is_on() -> None:
    hosts = Hosts()
    hosts.one.ipv6, hosts.one.forwards_ipv6 = {AB.interface, AC.interface}, True
    hosts.one.rules[1]["chain"] |= {"family": "ip"}
    hosts.one.rules[2]["rule"] |= {"family": "ip"}
    hosts.one.rules[0]["set"] |= {"family": "ip"}
    way = named(hosts.compared()[1], AB.address, AC.address)
    assert "an IPv6 packet into" in way


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hosts: hosts.one.forwarding.clear(), "there forwarding is off"),
        (lambda hosts: hosts.one.links[BC.interface].update(flags=[]), "is down"),
        (lambda hosts: hosts.one.routes.clear(), "there routed to nowhere"),
        (
            lambda hosts: hosts.one.policy.append({"priority": 0, "src": "all", "action": "prohibit"}),
            "there routed to nowhere, seg100, seg101, seg102, the host itself",
        ),
    ],
    ids=["forwarding", "down", "routes", "policy"],
)
def test_a_declared_path_that_is_blocked_is_missing(change: Any, message: str) -> None:
    hosts = Hosts()
    change(hosts)
    routed, told = hosts.compared()
    assert any(line.startswith(f"missing path: packets from {BC.address} do not reach {AB.address}") for line in told)
    assert any(message in line for line in told), told
    assert routed.present == 1


@pytest.mark.parametrize(
    ("rule", "routes", "wanted"),
    [
        ({}, [{"dst": "10.1.0.0/16", "dev": "a"}, {"dst": "10.1.2.0/24", "dev": "b"}], {"b"}),
        ({}, [{"dst": "10.1.2.0/24", "dev": "a", "metric": 5}, {"dst": "10.1.2.0/24", "dev": "b", "metric": 9}], {"a"}),
        ({}, [{"dst": "default", "nexthops": [{"dev": "a"}, {"dev": "b"}]}], {"a", "b"}),
        ({}, [{"dst": "10.1.2.3", "type": "local", "dev": "lo"}], {Inside.HERE}),
        ({}, [{"dst": "default", "type": "blackhole"}], {Inside.NOWHERE}),
        ({}, [{"dst": "default", "dev": "a"}, {"dst": "10.1.2.3", "type": "throw"}], {Inside.NOWHERE}),
        ({"src": "10.9.0.0", "srclen": 16}, [{"dst": "default", "dev": "a"}], {Inside.NOWHERE}),
        ({"src": "10.0.0.0", "srclen": 8}, [{"dst": "default", "dev": "a"}], {"a"}),
        ({"iif": "other"}, [{"dst": "default", "dev": "a"}], {Inside.NOWHERE}),
        ({"fwmark": "0x1"}, [{"dst": "default", "dev": "a"}], {"a", Inside.NOWHERE}),
    ],
    ids=[
        "longest-prefix",
        "lowest-metric",
        "multipath",
        "local",
        "blackhole",
        "throw",
        "rule-of-another-source",
        "rule-of-this-source",
        "rule-of-another-interface",
        "rule-of-a-mark",
    ],
)
def test_routes_are_looked_up_as_the_kernel_does(
    rule: dict[str, Any], routes: list[dict[str, Any]], wanted: set[str]
) -> None:
    policy = [{"priority": 1, "src": "all", "table": "main"} | rule]
    space = parse_namespace("", "", f"[] [] {json.dumps(routes)} {json.dumps(policy)}", {}, False)  # noqa: FBT003
    assert space.hops(Packet("in", None, IPv4Address("10.7.7.7"), IPv4Address("10.1.2.3"))) == wanted


@pytest.mark.parametrize(
    "network", ["", "[]", "[] [] []", "[] [] [] [] []", "[{}] [] [] []", "[7] [] [] []", "[] [] [{}] []", "[] [] [",
                '[] [] [{"dst": "no address"}] []', '{"a": 1} [] [] []', "[] [] [] [7]"],
)  # fmt: skip
def test_malformed_namespace_output_is_an_error(network: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_namespace("", "", network, {}, False)  # noqa: FBT003


def test_mirrors_of_what_is_declared_are_named() -> None:
    tap = next(one for one in DECLARED.stations.values() if one.role is StationRole.GUEST and one.vlan is not None)
    switch = switch_of(tap.host)

    def told(**what: Any) -> list[Violation]:
        mirror: dict[str, Any] = {"all": False, "ports": frozenset(), "vlans": frozenset()} | what
        return [*mirrors_of_declared(DECLARED, tap.host, switch, [Mirror(name="m", to_port="rogue0", **mirror)])]

    (one,) = told(ports=frozenset({tap.interface, "foreign0"}))
    assert str(one) == f"undeclared path: the mirror m of {tap.host} copies frames of {tap.address} to the port rogue0"
    assert [len(told(**what)) for what in ({"all": True}, {"ports": frozenset({"ens4"})})] == [1, 1]
    assert len(told(vlans=frozenset({tap.vlan}))) == 1
    assert told(ports=frozenset({"foreign0"})) == told(vlans=frozenset({4000})) == told() == []
    assert told(all=True, vlans=frozenset({4000})) == []


@pytest.mark.parametrize(
    ("what", "count"),
    [
        ({"link": "br-int", "linkinfo": {"info_kind": "macvlan"}}, 1),
        ({"link": "br-int", "linkinfo": {"info_kind": "vlan", "info_data": {"id": AB.vlan}}}, 1),
        ({"link": "ens4", "linkinfo": {"info_kind": "vlan", "info_data": {"id": 4000}}}, 0),
        ({"link": AB.interface, "linkinfo": {"info_kind": "macvlan"}}, 1),
        ({"link": "ens9", "linkinfo": {"info_kind": "macvlan"}}, 0),
        ({"link_index": 4001, "linkinfo": {"info_kind": "macvlan"}}, 1),
        ({"link_index": 4001, "linkinfo": {"info_kind": "veth"}}, 0),
        ({}, 0),
    ],
    ids=str,
)
def test_interfaces_over_ports_are_named(what: dict[str, Any], count: int) -> None:
    kernel, other = Kernel(""), Kernel("other")
    kernel.interface("br-int", ifindex=4001)
    other.interface("rogue0", ifindex=4002, **what)
    told = [*stacked_interfaces(DECLARED, GATEWAY, SWITCH, [kernel.printed(), other.printed()])]
    assert len(told) == count
    assert all("the interface rogue0 in the namespace other on gateway receives frames of" in str(one) for one in told)


def test_a_bridge_that_the_switch_s_own_port_is_put_into_is_named() -> None:
    kernel = Kernel("")
    kernel.interface("br0", linkinfo={"info_kind": "bridge"})
    kernel.interface("br-int", master="br0")
    (told,) = stacked_interfaces(DECLARED, GATEWAY, SWITCH, [kernel.printed()])
    assert "br-int of gateway is in the bridge br0" in str(told)
