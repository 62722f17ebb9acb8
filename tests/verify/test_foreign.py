"""What else on a host acts on guests' frames is named; what belongs to other people is not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from reconciler.spec.models.names import HostName
from reconciler.verify.eavesdropping import stacked_interfaces
from reconciler.verify.foreign import addressed_taps, bridge_on_vlan, foreign_flows, hooks_on_ours
from reconciler.verify.namespace import Namespace, parse_namespace, parse_unnamed
from reconciler.verify.probes import LivePort, Switch
from tests.plan.examples import plan
from tests.verify.test_verification import PAIR, as_declared, declared_by

DECLARED = declared_by(plan(PAIR))
(TAP, *_) = (one for one in DECLARED.stations.values() if one.address == "port/alice/lab1/a:eth1")
HOST = TAP.host
SWITCH = as_declared(DECLARED)[HOST]


def own(*links: dict[str, Any], rules: str = "", chains: str = "", ipv6: str = "") -> Namespace:
    """Return a host's own namespace with these links, and IPv6 on one of them."""
    written = [{"ifindex": number, "flags": ["UP"], **link} for number, link in enumerate(links, start=1)]
    text = f"{json.dumps(written)} {json.dumps(written)} [] []"
    return parse_namespace("", rules, text, {ipv6: (False, False)} if ipv6 else {}, False, chains)  # noqa: FBT003


def interface(name: str, *addresses: str) -> dict[str, Any]:
    return {"ifname": name, "addr_info": [{"family": "inet", "local": one} for one in addresses]}


def test_an_address_or_ipv6_on_a_tap_is_named_and_none_on_anything_else() -> None:
    assert not [*addressed_taps(DECLARED, HOST, [own(interface(TAP.interface), interface("eth0", "10.0.0.1"))])]
    assert not [*addressed_taps(DECLARED, HostName("gateway"), [own(interface(TAP.interface, "10.0.0.1"))])]
    (found,) = addressed_taps(DECLARED, HOST, [own(interface(TAP.interface, "10.0.0.1"), ipv6=TAP.interface)])
    assert found.message == (
        f"the TAP {TAP.interface} of {HOST} has the address 10.0.0.1 and IPv6 enabled:"
        f" the host itself answers {TAP.address} on it"
    )


def test_the_bridge_s_own_port_is_named_on_a_declared_vlan_only() -> None:
    space = own(interface("br-int", "10.0.0.1"))
    for tag, count in ((None, 0), (7, 0), (TAP.vlan, 1)):
        switch = replace(SWITCH, own=LivePort(HOST, "br-int", 65534, tag))
        assert len([*bridge_on_vlan(DECLARED, HOST, switch, [space])]) == count
    assert not [*bridge_on_vlan(DECLARED, HOST, SWITCH, [space])]


def test_a_foreign_flow_is_named_where_anything_is_declared() -> None:
    flow = "priority=7 actions=NORMAL"
    (found,) = foreign_flows(DECLARED, HOST, "br-int", [flow])
    assert found.message == f"a flow on br-int of {HOST} is not ours, and may pass or divert any frame: {flow}"
    assert not [*foreign_flows(DECLARED, HostName("idle"), "br-int", [flow])]
    assert not [*foreign_flows(DECLARED, HOST, "br-int", ["priority=0 actions=NORMAL"])]


def test_a_hook_is_named_on_our_devices_only() -> None:
    entry = {"chain": {"family": "netdev", "table": "t", "name": "in", "hook": "ingress", "policy": "accept"}}
    for device, count in ((TAP.interface, 1), ("ens4", 1), ("br-int", 1), ("ens5", 0), ("eth0", 0)):
        text = f'table netdev t {{ chain in {{ type filter hook ingress device "{device}" priority 0; }} }}'
        space = own(interface(device), rules=json.dumps({"nftables": [entry]}), chains=text)
        assert len([*hooks_on_ours(DECLARED, HOST, SWITCH, [space])]) == count, device


def hidden(**link: Any) -> Namespace:
    """Return a namespace without a name that has one interface; it knows the host's as 0, and `inner` as 1."""
    one = {"ifname": "rogue0", "ifindex": 9, "flags": ["UP"], "linkinfo": {"info_kind": "macvlan"}, **link}
    return parse_unnamed("/proc/7/ns/net", f'{json.dumps([one])} [{{"nsid": 0}}, {{"nsid": 1, "name": "inner"}}]')


def test_an_interface_in_a_namespace_without_a_name_is_named_if_it_is_on_ours() -> None:
    space, inner = (
        own(interface("lo"), interface(TAP.interface)),
        replace(own(interface("x"), interface("y")), name="inner"),
    )
    for link, told in (
        ({"link_index": 2, "link_netnsid": 0}, True),
        ({"link_index": 2, "link_netnsid": 1}, False),
        ({"link_index": 1, "link_netnsid": 0}, False),
        ({"link_index": 2, "link_netnsid": 0, "linkinfo": {"info_kind": "veth"}}, False),
        ({}, False),
    ):
        found = [
            *stacked_interfaces(DECLARED, HOST, Switch("br-int", None, SWITCH.ports), [space, inner, hidden(**link)])
        ]
        assert bool(found) == told, link
        if told:
            where = f"in the unnamed namespace /proc/7/ns/net on {HOST}"
            assert found[0].message == f"the interface rogue0 {where} receives frames of {TAP.address}"
