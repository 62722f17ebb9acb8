"""What is closed to guests of the internet VLAN is named if routes and rules may lead there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reconciler.plan.resources import Uplink
from reconciler.spec.models.names import HostName
from reconciler.verify.closed import open_to_guests
from reconciler.verify.declared import declare
from reconciler.verify.routing import network_of
from tests.verify.test_routing import ACCEPT, DROP, GATEWAY, MADE, SWITCH, UPLINK, Kernel, meta, node

WORKER = HostName("worker1")
CLOSED = ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "169.254.0.0/16"]
ADDRESSES = ["168.63.129.16"]


def to(*networks: str) -> dict[str, Any]:
    """Return a match of packets to networks or addresses, as nft prints it."""
    members = [
        {"prefix": {"addr": one.partition("/")[0], "len": int(one.partition("/")[2])}} if "/" in one else one
        for one in networks
    ]
    return {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": {"set": members}}}


def found(*rules: list[Any], uplink: Uplink = UPLINK, worker: str = "10.0.10.1/24") -> list[str]:
    """Return what guests may reach if these rules come before those that let them out."""
    kernel = node()
    at = {"family": "inet", "table": "reconciler_uplink", "chain": "forward"}
    kernel.rules[1:1] = [{"rule": {**at, "expr": rule}} for rule in rules]
    kernel.routes.append({"dst": "203.0.113.0/25", "dev": uplink.uplink, "scope": "link"})
    other = Kernel("")
    other.interface("ens3", worker)
    declared = declare([uplink if one.kind == Uplink.kind else one for one in MADE])
    live = {
        host: network_of(declared, SWITCH, host, [one.printed()]) for host, one in ((GATEWAY, kernel), (WORKER, other))
    }
    return [violation.message for violation in open_to_guests(declared, live)]


def test_a_gateway_that_closes_nothing_is_named_for_each_host_and_network() -> None:
    told = found(uplink=replace(UPLINK, hosts=("198.51.100.33",)))
    for part in (
        "reach 198.51.100.33, a host's address in the cluster file",
        "reach 169.254.169.254, a metadata service of clouds",
        "reach 172.16.0.0, in the private network 172.16.0.0/12, which is not open",
    ):
        assert f"packets from uplink/gateway {part}" in told
    assert found([meta("iifname", UPLINK.interface), DROP]) == []
    assert found([to(*CLOSED, *ADDRESSES), DROP]) == []


def test_an_address_that_the_cluster_file_does_not_name_is_found_on_its_host() -> None:
    (told,) = found([to(*CLOSED, *ADDRESSES), DROP], worker="198.51.100.9/24")
    assert told.startswith("packets from uplink/gateway reach 198.51.100.9, an address of worker1 (close it by naming")


def test_a_network_of_hosts_is_closed_though_it_is_public() -> None:
    public = replace(UPLINK, hosts=("203.0.113.99",))
    closing = [to(*CLOSED, *ADDRESSES, *public.hosts), DROP]
    (told,) = found(closing, uplink=public)
    assert told == "packets from uplink/gateway reach 203.0.113.0, in 203.0.113.0/25, the network of hosts"
    assert found(closing, [to("203.0.113.0/25"), DROP], uplink=public) == []
    assert found(closing, uplink=replace(public, allow_private=("203.0.113.0/24",))) == []


def test_what_the_cluster_file_opens_may_be_reached_but_for_hosts() -> None:
    opened = replace(UPLINK, allow_private=("10.0.0.0/8",))
    accepted = [to("10.0.0.0/8"), ACCEPT]
    assert (
        found(
            [to("10.0.10.1", "10.0.10.2", "10.0.10.3", "10.0.10.254"), DROP],
            accepted,
            [to(*CLOSED, *ADDRESSES), DROP],
            uplink=opened,
        )
        == []
    )
    told = found(accepted, [to(*CLOSED, *ADDRESSES), DROP], uplink=opened)
    assert "packets from uplink/gateway reach 10.0.10.1, a host's address in the cluster file" in told
    told = found(accepted, [to(*CLOSED, *ADDRESSES), DROP])
    assert any("in the private network 10.0.0.0/8, which is not open" in one for one in told)
