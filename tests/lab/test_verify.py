"""`verify` proves a network that is as declared, and finds each leak that is planted in it by name; nothing is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.site import EXAMPLES, Done, Site, on_host

pytestmark = pytest.mark.lab

FILES = (EXAMPLES / "two-vms.yaml", EXAMPLES / "triangle.yaml")

# Two VMs on the internet VLAN, on two workers, and nothing else of theirs.
ISLANDS = """
version: 1
name: islands
owner: admin
defaults: {flavor: cirros, internet: true}
vms:
  here: {worker: worker1}
  there: {worker: worker3}
"""


@pytest.fixture(scope="module")
def network(module_site: Site) -> Site:
    """Give a lab with two examples in it, and a slice of two islands on the internet VLAN."""
    module_site.apply(*FILES, module_site.write(ISLANDS))
    return module_site


@contextmanager
def planted(site: Site, host: str, plant: str, remove: str) -> Iterator[None]:
    """Change something on a host by hand for a while; afterwards the network must be proved again."""
    on_host(site.lab, host, plant)
    try:
        yield
    finally:
        on_host(site.lab, host, remove)
    site.do("verify")


def nic(site: Site, name: str, vm: str, card: str) -> tuple[str, dict[str, Any]]:
    """Return the worker and the network card of a VM."""
    found = site.vms(name)[vm]
    return found.worker, found.nics[card]


def not_proved(site: Site) -> Done:
    """Run `verify`, which must say that the network is not the declared one."""
    done = site.run("verify")
    assert done.code == 2, done.told
    assert done.out.splitlines()[-1].startswith("Not proved: ")
    return done


def expect_line(done: Done, start: str) -> str:
    """Return the one line of output that starts with a text."""
    found = [each for each in done.out.splitlines() if each.startswith(start)]
    assert len(found) == 1, f"{start!r} in\n{done.told}"
    return found[0]


def test_what_is_applied_is_proved(network: Site) -> None:
    proof = json.loads(network.do("verify", "--json").out)
    # Three links of the triangle and one of two-vms, with three pairs each; three VMs and the gateway.
    assert (proof["proved"], proof["present"], proof["violations"]) == (True, 4 * 3 + 3, [])
    taps = sum(len(vm.nics) for name in ("two-vms", "triangle", "islands") for vm in network.vms(name).values())
    stations = taps + 4 + 1
    assert proof["absent"] == stations * (stations - 1) // 2 - proof["present"]
    assert "Proved: " in network.do("verify").out
    assert json.loads(network.do("verify", "two-vms", "--json").out)["present"] == 4


def test_a_wrong_tag_is_a_missing_path_and_a_leak(network: Site) -> None:
    worker, db = nic(network, "two-vms", "db", "eth1")
    _, a = nic(network, "triangle", "a", "eth1")
    with planted(
        network,
        worker,
        f"ovs-vsctl set Port {db['tap']} tag={a['vlan']}",
        f"ovs-vsctl set Port {db['tap']} tag={db['vlan']}",
    ):
        done = not_proved(network)
        expect_line(
            done, "missing path: port/admin/two-vms/db:eth1 does not reach port/admin/two-vms/web:eth1 by a broadcast"
        )
        leak = expect_line(done, "undeclared path: port/admin/triangle/a:eth1 reaches port/admin/two-vms/db:eth1")
        assert f"out of {db['tap']} of {worker} on VLAN {a['vlan']}" in leak
        told = json.loads(network.run("verify", "--json").out)
        assert (told["proved"], told["present"]) == (False, 4 * 3 + 3 - 2), "db meets neither web nor its router"


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
        done = not_proved(network)
        forged = expect_line(done, "forged frame let through: a frame from a forged MAC of port/admin/two-vms/web:eth1")
        assert f"from {web['tap']} of {worker}" in forged


def test_a_trunk_too_wide_leads_to_whoever_sits_behind_it(network: Site) -> None:
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
        done = not_proved(network)
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
        expect_line(not_proved(network), "trunk: the trunk ens4 of worker2 carries every VLAN")
    worker, db = nic(network, "two-vms", "db", "eth1")
    with planted(
        network,
        worker,
        f"ovs-vsctl remove Port ens4 trunks {db['vlan']}",
        f"ovs-vsctl add Port ens4 trunks {db['vlan']}",
    ):
        done = not_proved(network)
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
        done = not_proved(network)
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
            not_proved(network), f"undeclared path: port/admin/two-vms/db:eth1 reaches the port rogue0 of {worker}"
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
        done = not_proved(network)
        expect_line(done, "forged frame let through: a frame of a stranger on the trunk of worker3")
        leak = expect_line(done, "undeclared path: port/admin/islands/here:eth0 reaches port/admin/islands/there:eth0")
        assert "out of trunk ens4 of worker1 on VLAN 400, into worker3" in leak


def test_a_rogue_port_on_the_internet_vlan_hears_who_asks_for_the_gateway(network: Site) -> None:
    worker, _ = nic(network, "islands", "here", "eth0")
    with planted(
        network,
        worker,
        "ovs-vsctl add-port br-int rogue0 tag=400 -- set Interface rogue0 type=internal",
        "ovs-vsctl del-port rogue0",
    ):
        expect_line(
            not_proved(network), f"undeclared path: port/admin/islands/here:eth0 reaches the port rogue0 of {worker}"
        )


def test_a_router_that_forwards_more_than_it_should(network: Site) -> None:
    namespace = f"slice-{network.show('two-vms')['id']}"
    change = f"ip netns exec {namespace} nft 'chain inet reconciler forward {{ policy %s; }}'"
    with planted(network, "gateway", change % "accept", change % "drop"):
        done = not_proved(network)
        expect_line(
            done, "router: router/admin/two-vms on gateway does not filter, forward and serve as it was made to"
        )
        assert "Not proved: 1 violation;" in done.out


def test_a_segment_in_another_slice_s_router(network: Site) -> None:
    ids = [network.show(name)["id"] for name in ("two-vms", "triangle")]
    vlan = nic(network, "two-vms", "db", "eth1")[1]["vlan"]
    move = f"ip -n slice-{ids[0]} link set seg{vlan} netns slice-{ids[1]}"
    on_host(network.lab, "gateway", move)
    done = not_proved(network)
    expect_line(done, "router: segment/admin/two-vms/db:eth1--web:eth1 on gateway ")
    network.apply(*FILES)
    network.do("verify")


def test_a_host_that_does_not_answer_is_an_error_and_no_proof(network: Site) -> None:
    cluster = network.folder / "elsewhere.yaml"
    cluster.write_text(re.sub(r"port: \d+", "port: 1", network.cluster.read_text(), count=1))
    done = network.run("verify", "--cluster", cluster)
    assert (done.code, done.out) == (1, ""), done.told
    assert "worker1" in done.err
