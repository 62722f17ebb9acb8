"""`verify` accepts a network that is as declared, and names each leak that is planted in it; nothing is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conftest import Tell
from tests.lab.site import EXAMPLES, Done, Site, on_host

pytestmark = [pytest.mark.lab, pytest.mark.guests]

FILES = (EXAMPLES / "two-vms.yaml", EXAMPLES / "triangle.yaml")

# Two VMs on the internet VLAN, on two workers, with two links, one of which does not lead to the other.
ISLANDS = """
version: 1
name: islands
owner: admin
defaults: {flavor: cirros, internet: true}
vms:
  here: {worker: worker1}
  there: {worker: worker3}
links:
  - [here:eth1, there:eth1]
  - {endpoints: [here:eth2, there:eth2], gateway: false}
"""

LINKS = 4 + 2
PAIRS = LINKS * 3 + 3
"""Two ends and a segment reach one another on each link; three VMs are on the internet VLAN with the gateway."""

planted_by_name: dict[str, bool] = {}
"""Every leak that was planted in this run, and whether it was found."""


@pytest.fixture(scope="module")
def network(module_site: Site) -> Site:
    """Give a lab with two examples in it, and a slice of two islands on the internet VLAN."""
    module_site.apply(*FILES, module_site.write(ISLANDS))
    return module_site


@contextmanager
def planted(site: Site, host: str, plant: str, remove: str) -> Iterator[None]:
    """Change something on a host by hand for a while; afterwards the network must be verified again."""
    leak = f"{host}: {plant}"
    planted_by_name[leak] = False
    on_host(site.lab, host, plant)
    try:
        yield
        planted_by_name[leak] = True
    finally:
        on_host(site.lab, host, remove)
    site.do("verify")


def nic(site: Site, name: str, vm: str, card: str) -> tuple[str, dict[str, Any]]:
    """Return the worker and the network card of a VM."""
    found = site.vms(name)[vm]
    return found.worker, found.nics[card]


def not_verified(site: Site) -> Done:
    """Run `verify`, which must say that the network is not the declared one."""
    done = site.run("verify")
    assert done.code == 2, done.told
    assert done.out.splitlines()[-1].startswith("Not verified: ")
    return done


def expect_line(done: Done, start: str) -> str:
    """Return the one line of output that starts with a text."""
    found = [each for each in done.out.splitlines() if each.startswith(start)]
    assert len(found) == 1, f"{start!r} in\n{done.told}"
    return found[0]


def test_an_applied_network_is_verified(network: Site) -> None:
    result = json.loads(network.do("verify", "--json").out)
    assert (result["proved"], result["present"], result["violations"]) == (True, PAIRS, [])
    taps = sum(len(vm.nics) for name in ("two-vms", "triangle", "islands") for vm in network.vms(name).values())
    stations = taps + LINKS + 1
    assert result["absent"] == stations * (stations - 1) // 2 - result["present"]
    # The segments, the internet VLAN and the outside, each to each other, and the internet VLAN's VMs to one another.
    # The triangle's three segments reach each other, and the internet VLAN reaches the outside.
    entrances = LINKS + 2
    assert result["routed"] == {"present": 3 * 2 + 1, "absent": entrances * (entrances - 1) + 1 - (3 * 2 + 1)}
    assert "Through routers: 7 declared paths present, 50 undeclared pairs absent." in network.do("verify").out
    part = json.loads(network.do("verify", "two-vms", "--json").out)
    assert (part["present"], part["routed"]) == (4, {"present": 0, "absent": 2 * (entrances - 1)})


def test_a_wrong_tag_is_a_missing_path_and_a_leak(network: Site) -> None:
    worker, db = nic(network, "two-vms", "db", "eth1")
    _, a = nic(network, "triangle", "a", "eth1")
    with planted(
        network,
        worker,
        f"ovs-vsctl set Port {db['tap']} tag={a['vlan']}",
        f"ovs-vsctl set Port {db['tap']} tag={db['vlan']}",
    ):
        done = not_verified(network)
        expect_line(
            done, "missing path: port/admin/two-vms/db:eth1 does not reach port/admin/two-vms/web:eth1 by a broadcast"
        )
        leak = expect_line(done, "undeclared path: port/admin/triangle/a:eth1 reaches port/admin/two-vms/db:eth1")
        assert f"out of {db['tap']} of {worker} on VLAN {a['vlan']}" in leak
        told = json.loads(network.run("verify", "--json").out)
        assert (told["proved"], told["present"]) == (False, PAIRS - 2), "db meets neither web nor its router"


def test_a_port_without_its_guard_lets_a_forged_sender_out(network: Site) -> None:
    worker, web = nic(network, "two-vms", "web", "eth1")
    saved = "/var/lib/reconciler/guard"
    match = f"br-int in_port={web['tap']}"
    dump = f"ovs-ofctl --names --no-stats dump-flows {match} | sed 's/ actions=/,actions=/' > {saved}"
    with planted(
        network,
        worker,
        f"{dump}; ovs-ofctl del-flows {match}",
        f"ovs-ofctl add-flows br-int {saved}; rm {saved}",
    ):
        done = not_verified(network)
        forged = expect_line(
            done, "forged frame let through: a frame from a forged MAC, sent by port/admin/two-vms/web:eth1"
        )
        assert f"from {web['tap']} of {worker}" in forged


def test_a_trunk_with_too_many_vlans_leads_to_a_rogue_port_behind_it(network: Site) -> None:
    vlan = nic(network, "two-vms", "db", "eth1")[1]["vlan"]
    workers = {vm.worker for vm in network.vms("two-vms").values()}
    (third,) = {"worker1", "worker2", "worker3"} - workers
    with planted(
        network,
        third,
        f"ovs-vsctl add Port ens4 trunks {vlan} -- add-port br-int rogue0 tag={vlan}"
        " -- set Interface rogue0 type=internal",
        f"ovs-vsctl remove Port ens4 trunks {vlan} -- del-port rogue0",
    ):
        done = not_verified(network)
        expect_line(done, f"trunk: the trunk ens4 of {third} carries VLAN {vlan}, which nothing on {third} needs")
        leak = expect_line(done, f"undeclared path: port/admin/two-vms/db:eth1 reaches the port rogue0 of {third}")
        assert f"on VLAN {vlan}, into {third}" in leak


def test_a_trunk_that_carries_all_vlans_or_too_few_is_named(network: Site) -> None:
    with planted(
        network,
        "worker2",
        "ovs-vsctl get Port ens4 trunks | tr -d ' ' > /var/lib/reconciler/trunks; ovs-vsctl clear Port ens4 trunks",
        'ovs-vsctl set Port ens4 trunks="$(cat /var/lib/reconciler/trunks)"; rm /var/lib/reconciler/trunks',
    ):
        expect_line(not_verified(network), "trunk: the trunk ens4 of worker2 carries every VLAN")
    worker, db = nic(network, "two-vms", "db", "eth1")
    with planted(
        network,
        worker,
        f"ovs-vsctl remove Port ens4 trunks {db['vlan']}",
        f"ovs-vsctl add Port ens4 trunks {db['vlan']}",
    ):
        done = not_verified(network)
        expect_line(done, f"trunk: the trunk ens4 of {worker} does not carry VLAN {db['vlan']}")
        expect_line(done, "missing path: port/admin/two-vms/db:eth1 does not reach port/admin/two-vms/web:eth1")


def test_two_ports_swapped_are_both_named(network: Site) -> None:
    worker, one = nic(network, "triangle", "a", "eth1")
    _, other = nic(network, "triangle", "a", "eth2")
    swap = "ovs-vsctl set Port {} tag={} -- set Port {} tag={}"
    with planted(
        network,
        worker,
        swap.format(one["tap"], other["vlan"], other["tap"], one["vlan"]),
        swap.format(one["tap"], one["vlan"], other["tap"], other["vlan"]),
    ):
        done = not_verified(network)
        for card, partner in (("eth1", "b:eth1"), ("eth2", "c:eth1")):
            told = f"missing path: port/admin/triangle/a:{card} does not reach port/admin/triangle/{partner}"
            expect_line(done, told)
        expect_line(done, "undeclared path: port/admin/triangle/a:eth1 reaches port/admin/triangle/c:eth1")
        expect_line(done, "undeclared path: port/admin/triangle/a:eth2 reaches port/admin/triangle/b:eth1")


@pytest.mark.parametrize("tagged", [True, False], ids=["on-the-vlan", "on-all-vlans"])
def test_a_rogue_port_is_reached_and_reaches(network: Site, tagged: bool) -> None:
    worker, db = nic(network, "two-vms", "db", "eth1")
    tag = f"tag={db['vlan']}" if tagged else ""
    with planted(
        network,
        worker,
        f"ovs-vsctl add-port br-int rogue0 {tag} -- set Interface rogue0 type=internal",
        "ovs-vsctl del-port rogue0",
    ):
        leak = expect_line(
            not_verified(network), f"undeclared path: port/admin/two-vms/db:eth1 reaches the port rogue0 of {worker}"
        )
        vlan = f"VLAN {db['vlan']}" if tagged else "every VLAN"
        assert f"out of rogue0 of {worker} on {vlan}" in leak


def test_a_worker_without_its_guard_of_the_internet_vlan(network: Site) -> None:
    saved = "/var/lib/reconciler/guard"
    match = "br-int in_port=ens4,dl_vlan=400"
    dump = f"ovs-ofctl --names --no-stats dump-flows {match} | sed 's/ actions=/,actions=/' > {saved}"
    with planted(
        network,
        "worker3",
        f"{dump}; ovs-ofctl del-flows {match}",
        f"ovs-ofctl add-flows br-int {saved}; rm {saved}",
    ):
        done = not_verified(network)
        expect_line(done, "forged frame let through: a frame from an unknown MAC on the trunk of worker3")
        leak = expect_line(done, "undeclared path: port/admin/islands/here:eth0 reaches port/admin/islands/there:eth0")
        assert "out of trunk ens4 of worker1 on VLAN 400, into worker3" in leak


def test_a_rogue_port_on_the_internet_vlan_receives_requests_for_the_gateway(network: Site) -> None:
    worker, _ = nic(network, "islands", "here", "eth0")
    with planted(
        network,
        worker,
        "ovs-vsctl add-port br-int rogue0 tag=400 -- set Interface rogue0 type=internal",
        "ovs-vsctl del-port rogue0",
    ):
        expect_line(
            not_verified(network), f"undeclared path: port/admin/islands/here:eth0 reaches the port rogue0 of {worker}"
        )


def test_a_router_that_forwards_more_than_it_should(network: Site) -> None:
    namespace = f"slice-{network.show('two-vms')['id']}"
    change = f"ip netns exec {namespace} nft 'chain inet reconciler forward {{ policy %s; }}'"
    with planted(network, "gateway", change % "accept", change % "drop"):
        done = not_verified(network)
        expect_line(
            done, "router: router/admin/two-vms on gateway does not filter, forward and serve as it was configured to"
        )
        assert "Not verified: 1 violation;" in done.out


def test_a_segment_in_another_slice_s_router(network: Site) -> None:
    ids = [network.show(name)["id"] for name in ("two-vms", "triangle")]
    vlan = nic(network, "two-vms", "db", "eth1")[1]["vlan"]
    move = f"ip -n slice-{ids[0]} link set seg{vlan} netns slice-{ids[1]}"
    planted_by_name[move] = False
    on_host(network.lab, "gateway", move)
    done = not_verified(network)
    expect_line(done, "router: segment/admin/two-vms/db:eth1--web:eth1 on gateway ")
    planted_by_name[move] = True
    network.apply(*FILES)
    network.do("verify")


TWO = "segment/admin/two-vms/db:eth1--web:eth1"
THREE = "segment/admin/triangle/a:eth1--b:eth1"
OPEN, CLOSED = "segment/admin/islands/here:eth1--there:eth1", "segment/admin/islands/here:eth2--there:eth2"


def router(site: Site, name: str) -> str:
    """Return the namespace of a slice's router."""
    return f"slice-{site.show(name)['id']}"


def subnet(site: Site, name: str, link: str) -> str:
    """Return the network of a link."""
    return str(next(one["subnet"] for one in site.show(name)["links"] if one["key"] == link))


def in_router(namespace: str, command: str) -> str:
    """Return a command that runs another in a router's namespace."""
    return f"ip netns exec {namespace} {command}"


def veth(one: str, other: str, net: str) -> str:
    """Return commands that join two namespaces: `leak-a` in the first has the address .1, `leak-b` in the other .2."""
    ends = ((one, "leak-a", 1), (other, "leak-b", 2))
    lines = [f"ip netns exec {one} ip link add leak-a type veth peer name leak-b netns {other}"]
    for space, interface, number in ends:
        lines.append(f"ip -n {space} address add {net}.{number}/30 dev {interface}")
        lines.append(f"ip -n {space} link set {interface} up")
    return "; ".join(lines)


def test_a_cable_between_two_routers(network: Site) -> None:
    two, three = router(network, "two-vms"), router(network, "triangle")
    member = "ip netns exec {} nft {} element inet reconciler gateways '{{ leak-{} }}'"
    cable = (
        f"{veth(two, three, '10.99.0')}; {member.format(two, 'add', 'a')}; {member.format(three, 'add', 'b')};"
        f" ip -n {two} route add {subnet(network, 'triangle', 'a:eth1--b:eth1')} via 10.99.0.2"
    )
    remove = f"ip -n {two} link del leak-a; {member.format(two, 'delete', 'a')}; {member.format(three, 'delete', 'b')}"
    with planted(network, "gateway", cable, remove):
        done = not_verified(network)
        leak = expect_line(done, f"undeclared path: packets from {TWO} reach {THREE}")
        assert (
            f"in the namespace {two} on gateway, then out of leak-a, then into leak-b in the namespace {three}" in leak
        )
        expect_line(done, "router: router/admin/two-vms on gateway forwards for leak-a, which is not a gateway")
        expect_line(done, "router: router/admin/triangle on gateway forwards for leak-b, which is not a gateway")


def test_a_way_between_two_routers_through_the_node_itself(network: Site) -> None:
    two, three = router(network, "two-vms"), router(network, "triangle")
    there = subnet(network, "triangle", "a:eth1--b:eth1")
    lines = [
        f"ip link add leak{number} type veth peer name out netns {space}" for number, space in ((1, two), (2, three))
    ]
    for number, space in ((1, two), (2, three)):
        lines += [f"ip address add 10.99.{number}.1/30 dev leak{number}", f"ip link set leak{number} up"]
        lines += [f"ip -n {space} address add 10.99.{number}.2/30 dev out", f"ip -n {space} link set out up"]
        lines += [in_router(space, "nft add element inet reconciler gateways '{ out }'")]
    lines += [f"ip route add {there} via 10.99.2.2", "echo 1 > /proc/sys/net/ipv4/conf/leak1/forwarding"]
    lines += [f"ip -n {two} route add {there} via 10.99.1.1"]
    remove = "ip link del leak1; ip link del leak2; " + "; ".join(
        in_router(space, "nft delete element inet reconciler gateways '{ out }'") for space in (two, three)
    )
    with planted(network, "gateway", "; ".join(lines), remove):
        leak = expect_line(not_verified(network), f"undeclared path: packets from {TWO} reach {THREE}")
        assert "then into leak1 in the host's own namespace, then out of leak2, then into out in the namespace" in leak


def test_a_member_added_to_the_set_of_gateways_by_hand(network: Site) -> None:
    islands = router(network, "islands")
    closed = f"seg{nic(network, 'islands', 'here', 'eth2')[1]['vlan']}"
    change = f"ip netns exec {islands} nft %s element inet reconciler gateways '{{ {closed}, rogue0 }}'"
    with planted(network, "gateway", change % "add", change % "delete"):
        done = not_verified(network)
        leak = expect_line(done, f"undeclared path: packets from {OPEN} reach {CLOSED}")
        assert f"out of {closed}" in leak
        expect_line(done, f"undeclared path: packets from {CLOSED} reach {OPEN}")
        expect_line(
            done, "router: router/admin/islands on gateway forwards for rogue0, which is not a gateway of its slice"
        )


@pytest.mark.parametrize(
    ("plant", "remove"),
    [
        ("insert rule inet reconciler forward accept", "delete rule inet reconciler forward handle $handle"),
        (
            "insert rule inet reconciler forward meta mark 7 accept",
            "delete rule inet reconciler forward handle $handle",
        ),
        ("chain inet reconciler forward '{ policy accept; }'", "chain inet reconciler forward '{ policy drop; }'"),
    ],
    ids=["accept", "accept-by-what-is-not-understood", "policy"],
)
def test_a_forward_chain_opened_by_hand(network: Site, plant: str, remove: str) -> None:
    nft = f"ip netns exec {router(network, 'islands')} nft"
    handle = f"handle=$({nft} -a list chain inet reconciler forward | sed -n 's/.*accept # handle //p' | head -n 1)"
    with planted(network, "gateway", f"{nft} {plant}", f"{handle}; {nft} {remove}"):
        done = not_verified(network)
        expect_line(done, f"undeclared path: packets from {OPEN} reach {CLOSED}")
        expect_line(done, f"undeclared path: packets from {CLOSED} reach {OPEN}")
        expect_line(done, "router: router/admin/islands on gateway does not filter, forward and serve")


def test_a_foreign_table_that_may_drop_what_is_declared(network: Site) -> None:
    triangle = router(network, "triangle")
    nft = f"ip netns exec {triangle} nft"
    table = "'table inet foreign { chain onward { type filter hook forward priority -5; tcp dport 25 drop; }; }'"
    with planted(network, "gateway", f"{nft} {table}", f"{nft} delete table inet foreign"):
        done = not_verified(network)
        missing = expect_line(
            done, f"missing path: packets from {THREE} do not reach segment/admin/triangle/a:eth2--c:eth1"
        )
        assert "there inet foreign onward may drop it" in missing
        assert json.loads(network.run("verify", "--json").out)["routed"]["present"] == 1


def test_vms_of_the_internet_vlan_sent_back_to_one_another(network: Site) -> None:
    handle = "nft -a list chain inet reconciler_uplink forward | sed -n 's/.*oifname \"inet400\" accept # handle //p'"
    with planted(
        network,
        "gateway",
        "nft insert rule inet reconciler_uplink forward iifname inet400 oifname inet400 accept",
        f"nft delete rule inet reconciler_uplink forward handle $({handle})",
    ):
        leak = expect_line(not_verified(network), "undeclared path: packets from uplink/gateway reach uplink/gateway")
        assert "into inet400 in the host's own namespace on gateway, then out of inet400" in leak


def test_the_outside_let_in_to_vms(network: Site) -> None:
    handle = "nft -a list chain inet reconciler_uplink forward | sed -n 's/.*dport 22 accept # handle //p'"
    nat = "chain pre { type nat hook prerouting priority dstnat; iifname ens5 tcp dport 2222 dnat to 10.60.7.2:22; };"
    with planted(
        network,
        "gateway",
        f"nft 'table ip leak {{ {nat} }}';"
        " nft insert rule inet reconciler_uplink forward iifname ens5 oifname inet400 tcp dport 22 accept",
        f"nft delete table ip leak; nft delete rule inet reconciler_uplink forward handle $({handle})",
    ):
        done = not_verified(network)
        expect_line(done, "undeclared path: packets from the outside behind ens5 of gateway reach uplink/gateway")


def test_a_mirror_is_named_with_its_sources_and_its_target(network: Site) -> None:
    worker, db = nic(network, "two-vms", "db", "eth1")
    with planted(
        network,
        worker,
        "ovs-vsctl add-port br-int rogue0 -- set Interface rogue0 type=internal -- --id=@out get Port rogue0"
        f" -- --id=@db get Port {db['tap']} -- --id=@leak create Mirror name=leak select_dst_port=@db"
        " select_src_port=@db output_port=@out -- set Bridge br-int mirrors=@leak",
        "ovs-vsctl clear Bridge br-int mirrors -- del-port rogue0",
    ):
        done = not_verified(network)
        told = f"undeclared path: the mirror leak of {worker} copies frames of port/admin/two-vms/db:eth1"
        assert expect_line(done, told).endswith(" to the port rogue0")
        expect_line(done, f"undeclared path: port/admin/two-vms/db:eth1 reaches the port rogue0 of {worker}")


@pytest.mark.parametrize(("host", "below"), [("worker2", "br-int"), ("gateway", "ens4")])
def test_an_interface_stacked_on_the_bridge_or_its_trunk(network: Site, host: str, below: str) -> None:
    with planted(network, host, f"ip link add rogue0 link {below} type macvlan", "ip link del rogue0"):
        done = not_verified(network)
        told = (
            f"undeclared path: the interface rogue0 in the host's own namespace on {host} receives frames of every VLAN"
        )
        assert expect_line(done, told).endswith(f" at {below}")


# Leaves a process in a network namespace without a name, and its number in $pid and in a file.
UNNAMED = """unshare --net sleep 600 > /dev/null 2>&1 &
pid=$!; echo $pid > /run/lab/unnamed
while [ "$(readlink /proc/$pid/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done"""
END_UNNAMED = "kill $(cat /run/lab/unnamed); rm /run/lab/unnamed"


@pytest.mark.parametrize(
    ("plant", "remove", "told"),
    [
        ("ip address add 10.99.0.1/24 dev {tap}", "ip address del 10.99.0.1/24 dev {tap}", "the address 10.99.0.1"),
        (
            "echo 0 > /proc/sys/net/ipv6/conf/{tap}/disable_ipv6",
            "echo 1 > /proc/sys/net/ipv6/conf/{tap}/disable_ipv6",
            "IPv6 enabled",
        ),
    ],
    ids=["address", "ipv6"],
)
def test_a_worker_that_answers_on_a_tap(network: Site, plant: str, remove: str, told: str) -> None:
    worker, db = nic(network, "two-vms", "db", "eth1")
    with planted(network, worker, plant.format(tap=db["tap"]), remove.format(tap=db["tap"])):
        leak = expect_line(not_verified(network), f"undeclared path: the TAP {db['tap']} of {worker} has {told}")
        assert leak.endswith(": the host itself answers port/admin/two-vms/db:eth1 on it")


def test_the_bridge_s_own_port_on_a_declared_vlan(network: Site) -> None:
    worker, db = nic(network, "two-vms", "db", "eth1")
    with planted(
        network,
        worker,
        f"ovs-vsctl set Port br-int tag={db['vlan']}; ip address add 10.99.0.1/24 dev br-int; ip link set br-int up",
        "ovs-vsctl clear Port br-int tag; ip address del 10.99.0.1/24 dev br-int; ip link set br-int down",
    ):
        leak = expect_line(not_verified(network), f"undeclared path: the bridge's own port br-int of {worker} has")
        has = f"has the tag {db['vlan']} and the address 10.99.0.1"
        assert leak.endswith(f"{has}: the host itself is on VLAN {db['vlan']}")


def test_a_flow_without_our_cookie(network: Site) -> None:
    worker, db = nic(network, "two-vms", "db", "eth1")
    flow = f"priority=7,in_port={db['tap']},udp,tp_dst=4789"
    with planted(
        network, worker, f"ovs-ofctl add-flow br-int {flow},actions=LOCAL", "ovs-ofctl del-flows br-int cookie=0/-1"
    ):
        leak = expect_line(not_verified(network), f"undeclared path: a flow on br-int of {worker} is not ours")
        assert f'may pass or divert any frame: priority=7,udp,in_port="{db["tap"]}"' in leak
        assert leak.endswith("actions=LOCAL")


@pytest.mark.parametrize("device", ["tap", "ens4", "br-int"])
def test_an_nftables_hook_on_a_device_of_ours(network: Site, device: str) -> None:
    worker, db = nic(network, "two-vms", "db", "eth1")
    what = {"ens4": "the trunk", "br-int": "the bridge's own port"}.get(device, "port/admin/two-vms/db:eth1")
    device = db["tap"] if device == "tap" else device
    hook = f"chain in {{ type filter hook ingress device {device} priority 0; }};"
    with planted(network, worker, f"nft 'table netdev leak {{ {hook} }}'", "nft delete table netdev leak"):
        told = f"undeclared path: the nftables chain netdev leak in in the host's own namespace on {worker}"
        assert f"is attached to {device}, {what}: its rules" in expect_line(not_verified(network), told)


@pytest.mark.parametrize("below", ["tap", "ens4"])
def test_an_interface_in_a_namespace_without_a_name(network: Site, below: str) -> None:
    worker, db = nic(network, "two-vms", "db", "eth1")
    below, what = (db["tap"], "port/admin/two-vms/db:eth1") if below == "tap" else (below, f"every VLAN at {below}")
    with planted(
        network,
        worker,
        f"{UNNAMED}; ip link add rogue0 link {below} type macvlan; ip link set rogue0 netns $pid",
        END_UNNAMED,
    ):
        told = "undeclared path: the interface rogue0 in the unnamed namespace /proc/"
        leak = expect_line(not_verified(network), told)
        assert leak.endswith(f"/ns/net on {worker} receives frames of {what}")


def test_two_guests_that_a_mirror_copies_to_a_third(network: Site) -> None:
    worker, a = nic(network, "triangle", "a", "eth1")
    _, other = nic(network, "triangle", "a", "eth2")
    here = next(vm for vm in ("web", "db") if nic(network, "two-vms", vm, "eth1")[0] == worker)
    _, third = nic(network, "two-vms", here, "eth1")
    with planted(
        network,
        worker,
        f"ovs-vsctl --id=@a get Port {a['tap']} -- --id=@b get Port {other['tap']} -- --id=@out get Port {third['tap']}"
        " -- --id=@leak create Mirror name=leak select_dst_port=@a,@b select_src_port=@a,@b output_port=@out"
        " -- set Bridge br-int mirrors=@leak",
        "ovs-vsctl clear Bridge br-int mirrors",
    ):
        told = f"undeclared path: the mirror leak of {worker} copies frames of port/admin/triangle/a:eth1, "
        leak = expect_line(not_verified(network), told)
        assert leak.endswith(f"port/admin/triangle/a:eth2 to port/admin/two-vms/{here}:eth1")


def test_what_is_other_people_s_is_no_leak(network: Site) -> None:
    plants = (
        "ovs-vsctl add-br br-theirs -- set Bridge br-theirs datapath_type=netdev",
        "ovs-vsctl add-port br-theirs theirs0 -- set Interface theirs0 type=internal",
        "ovs-ofctl add-flow br-theirs priority=7,actions=NORMAL",
        "ip link add theirs1 type veth peer name theirs2; ip link set theirs1 up",
        "ip address add 10.98.0.1/24 dev theirs1",
        "ip tuntap add theirs3 mode tap; ip address add 10.98.1.1/24 dev theirs3; ip link set theirs3 up",
        "nft 'table netdev theirs { chain in { type filter hook ingress device theirs1 priority 0; }; }'",
        f"{UNNAMED}; ip link add theirs4 link theirs1 type macvlan; ip link set theirs4 netns $pid",
        "ip address add 10.98.2.1/24 dev br-int",
    )
    on_host(network.lab, "worker1", "; ".join(plants))
    try:
        assert "Verified: " in network.do("verify").out
    finally:
        remove = f"{END_UNNAMED}; nft delete table netdev theirs; ip link del theirs1; ip link del theirs3"
        on_host(network.lab, "worker1", f"{remove}; ovs-vsctl del-br br-theirs; ip address flush dev br-int")


def test_every_guest_answers_its_router_under_its_own_mac(network: Site) -> None:
    vms = [vm for name in ("two-vms", "triangle", "islands") for vm in network.vms(name).values()]
    for vm in vms:
        vm.settle()
    told = json.loads(network.do("verify", "--probe", "--json").out)
    addressed = sum(card["ip"] is not None for vm in vms for card in vm.nics.values())
    assert (told["proved"], told["probed"]) == (True, {"answered": addressed, "silent": []})
    assert "3 NICs replied to ARP from their own MAC only." in network.do("verify", "--probe", "two-vms").out
    assert json.loads(network.do("verify", "--json").out)["probed"] is None


def test_a_guest_that_does_not_reply_is_not_verified(network: Site) -> None:
    db = network.vms("two-vms")["db"]
    db.settle()
    on_host(network.lab, db.worker, f"kill -STOP {db.pid}")
    try:
        done = network.run("verify", "--probe", "two-vms")
    finally:
        on_host(network.lab, db.worker, f"kill -CONT {db.pid}")
    assert done.code == 2, done.told
    expect_line(done, f"silent: port/admin/two-vms/db:eth1 ({db.ip('eth1')}) does not reply to ARP")
    assert "Not verified: 1 NIC silent; 4 declared paths present, " in done.out


def test_a_host_that_replies_for_a_guest_is_named(network: Site) -> None:
    db = network.vms("two-vms")["db"]
    db.settle()
    with planted(
        network,
        db.worker,
        f"ovs-vsctl add-port br-int rogue0 tag={db.nics['eth1']['vlan']} -- set Interface rogue0 type=internal"
        f" mac='\"02:00:00:00:00:77\"'; ip address add {db.ip('eth1')}/24 dev rogue0; ip link set rogue0 up",
        "ovs-vsctl del-port rogue0",
    ):
        done = network.run("verify", "--probe", "two-vms")
        assert done.code == 2, done.told
        told = f"impostor: 02:00:00:00:00:77 replies for {db.ip('eth1')}, the address of port/admin/two-vms/db:eth1"
        assert f"instead of {db.nics['eth1']['mac']}" in expect_line(done, told)


def test_a_host_that_cannot_be_read_is_an_error(network: Site) -> None:
    cluster = network.folder / "elsewhere.yaml"
    cluster.write_text(re.sub(r"port: \d+", "port: 1", network.cluster.read_text(), count=1))
    done = network.run("verify", "--cluster", cluster)
    assert (done.code, done.out) == (1, ""), done.told
    assert "worker1" in done.err


def test_every_leak_that_was_planted_was_found(tell: Tell) -> None:
    found = sum(planted_by_name.values())
    assert found == len(planted_by_name)
    tell(f"verify: {len(planted_by_name)} leaks planted, {found} found by name")
