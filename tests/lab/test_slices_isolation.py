"""Two owners' slices on the same workers do not reach one another: not by link, by gateway, or on the internet VLAN.

Whether a frame got through is asked of the kernel of the guest it was meant for, which counts echo requests; that no
answer came would not be enough. Each test shows first that the guests it uses can be heard, and can hear.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import pytest

from reconciler import lab as labs
from tests.lab.site import Site, Vm, on_host

pytestmark = [pytest.mark.lab, pytest.mark.guests]

PAGE = "http://203.0.113.10/"
GATEWAY = "10.60.7.1"

# Both slices have a VM on the internet VLAN on worker1, and bob another on worker2; each has a link across the two.
ALICE = """
version: 1
name: classroom
owner: alice
defaults: {flavor: cirros}
vms:
  here: {worker: worker1, internet: true}
  there: {worker: worker2}
links:
  - [here, there]
"""
BOB = """
version: 1
name: classroom
owner: bob
defaults: {flavor: cirros}
vms:
  here: {worker: worker1, internet: true}
  there: {worker: worker2, internet: true}
links:
  - [here, there]
"""


@dataclass(frozen=True)
class Slices:
    """Two slices that run side by side; `mallory` is the guest of alice's that tries what it should not."""

    site: Site
    alice: dict[str, Vm]
    bob: dict[str, Vm]

    @property
    def mallory(self) -> Vm:
        return self.alice["here"]

    @property
    def bobs_link(self) -> str:
        """The first three bytes of the addresses on bob's link, as text."""
        return self.bob["here"].ip("eth1").rpartition(".")[0]

    @property
    def bobs_addresses(self) -> tuple[str, ...]:
        """The addresses of bob's VMs on his link, and of his router there."""
        return self.bob["here"].ip("eth1"), self.bob["there"].ip("eth1"), f"{self.bobs_link}.1"

    def assert_alive(self) -> None:
        """See that all that is declared works, and that echo requests are counted."""
        assert self.mallory.pings(self.alice["there"].ip("eth1"))
        assert self.mallory.downloads(PAGE)
        heard = self.bob["there"].echoes()
        assert self.bob["here"].pings(self.bob["there"].ip("eth1"))
        assert self.bob["there"].echoes() > heard
        assert self.bob["here"].downloads(PAGE)
        assert self.bob["there"].downloads(PAGE)


@pytest.fixture(scope="module")
def both(module_site: Site) -> Slices:
    """Apply both slices, and wait for their four guests."""
    for text, owner in ((ALICE, "alice"), (BOB, "bob")):
        path = module_site.folder / f"{owner}.yaml"
        path.write_text(text)
        module_site.apply(path)
    slices = Slices(module_site, module_site.vms("alice/classroom"), module_site.vms("bob/classroom"))
    for vm in (*slices.alice.values(), *slices.bob.values()):
        vm.settle()
    slices.assert_alive()
    return slices


@pytest.fixture
def slices(both: Slices) -> Iterator[Slices]:
    """Give both slices, which are at work before the test and must be so after it."""
    yield both
    both.assert_alive()


@contextmanager
def unheard(vms: dict[str, Vm]) -> Iterator[None]:
    """See that no echo request arrives at any of the guests."""
    before = {name: vm.echoes() for name, vm in vms.items()}
    yield
    assert {name: vm.echoes() for name, vm in vms.items()} == before


@contextmanager
def changed(vm: Vm, make: str, undo: str) -> Iterator[None]:
    """Change something in a guest for a while."""
    vm.run(make)
    try:
        yield
    finally:
        vm.run(undo)


def arp_answered(vm: Vm, interface: str, address: str, options: str = "") -> bool:
    """Tell whether anyone says that an address is theirs."""
    return "yes" in vm.guest.run(f"arping -q -c 1 -w 1 {options} -I {interface} {address} && echo yes", check=False)


def test_an_address_in_the_other_s_subnet_reaches_nobody_there(slices: Slices) -> None:
    mallory = slices.mallory
    address = f"{slices.bobs_link}.77/24"
    with changed(mallory, f"ip address add {address} dev eth1", f"ip address delete {address} dev eth1"):
        assert arp_answered(mallory, "eth1", slices.alice["there"].ip("eth1")), "who is there answers"
        with unheard(slices.bob):
            assert mallory.pings_in_vain(*slices.bobs_addresses, options="-I eth1")
            assert not any(arp_answered(mallory, "eth1", target) for target in slices.bobs_addresses)


def test_frames_addressed_by_hand_arrive_at_nobody(slices: Slices) -> None:
    mallory = slices.mallory
    address = f"{slices.bobs_link}.77/24"
    macs = [(vm.ip("eth1"), vm.nics["eth1"]["mac"]) for vm in slices.bob.values()]
    entries = "; ".join(f"arp -i eth1 -s {ip} {mac}" for ip, mac in macs)
    with (
        changed(mallory, f"ip address add {address} dev eth1", f"ip address delete {address} dev eth1"),
        changed(mallory, entries, "; ".join(f"arp -i eth1 -d {ip}" for ip, _ in macs)),
        unheard(slices.bob),
    ):
        assert mallory.pings_in_vain(*(ip for ip, _ in macs), options="-I eth1")


def test_the_gateways_do_not_route_between_slices(slices: Slices) -> None:
    mallory = slices.mallory
    own = next(link["gateway"] for link in slices.site.show("alice/classroom")["links"])
    assert mallory.pings(own), "its own gateway answers"
    for gateway, interface in ((own, "eth1"), (GATEWAY, "eth0")):
        route = f"{slices.bobs_link}.0/24 via {gateway} dev {interface}"
        with changed(mallory, f"ip route add {route}", f"ip route delete {route}"), unheard(slices.bob):
            assert mallory.pings_in_vain(*slices.bobs_addresses)


def test_guests_on_the_internet_vlan_meet_only_the_gateway(slices: Slices) -> None:
    mallory = slices.mallory
    assert mallory.pings(GATEWAY)
    assert arp_answered(mallory, "eth0", GATEWAY)
    with unheard(slices.bob):
        for name, vm in slices.bob.items():
            target, mac = vm.ip("eth0"), vm.nics["eth0"]["mac"]
            assert not arp_answered(mallory, "eth0", target), f"{name}, on {vm.worker}"
            assert mallory.pings_in_vain(target)
            with changed(mallory, f"arp -i eth0 -s {target} {mac}", f"arp -i eth0 -d {target}"):
                assert mallory.pings_in_vain(target), "a frame to its MAC"
            with changed(mallory, f"arp -i eth0 -s {target} ff:ff:ff:ff:ff:ff", f"arp -i eth0 -d {target}"):
                assert mallory.pings_in_vain(target), "a frame to all"
            with changed(mallory, f"ip route add {target} via {GATEWAY}", f"ip route delete {target} via {GATEWAY}"):
                assert mallory.pings_in_vain(target), "the gateway does not send it back"


def test_a_slice_s_own_guests_do_not_meet_there_either(slices: Slices) -> None:
    here, there = slices.bob["here"], slices.bob["there"]
    assert here.pings(there.ip("eth1"), "-I eth1")
    with unheard(slices.bob):
        assert here.pings_in_vain(there.ip("eth0"), options="-I eth0")
        assert there.pings_in_vain(here.ip("eth0"), options="-I eth0")


def test_another_s_mac_gets_a_guest_nowhere(slices: Slices) -> None:
    mallory = slices.mallory
    assert mallory.pings(GATEWAY, "-I eth0")
    for victim in slices.bob.values():
        for interface, target in (("eth0", GATEWAY), ("eth1", slices.alice["there"].ip("eth1"))):
            own, stolen = mallory.nics[interface]["mac"], victim.nics[interface]["mac"]
            with changed(
                mallory,
                f"ip link set dev {interface} address {stolen}",
                f"ip link set dev {interface} address {own}",
            ):
                assert mallory.pings_in_vain(target, options=f"-I {interface}")
                assert victim.downloads(PAGE), "the switches still know where its MAC is"


def test_another_s_address_gets_a_guest_nowhere(slices: Slices) -> None:
    mallory = slices.mallory
    for victim in slices.bob.values():
        stolen = victim.ip("eth0")
        with (
            changed(mallory, f"ip address add {stolen}/32 dev eth0", f"ip address delete {stolen}/32 dev eth0"),
            unheard(slices.bob),
        ):
            assert not arp_answered(mallory, "eth0", GATEWAY, f"-s {stolen}")
            mallory.guest.run(f"arping -q -U -c 1 -w 1 -I eth0 {stolen}", check=False)
            mallory.guest.run(f"arping -q -A -c 1 -w 1 -I eth0 {stolen}", check=False)
            assert mallory.pings_in_vain(GATEWAY, options=f"-I {stolen}")
            known = on_host(slices.site.lab, "gateway", f"ip neighbour show {stolen}")
            assert victim.nics["eth0"]["mac"] in known
            assert victim.downloads(PAGE), "what is sent to it still arrives"


def test_a_tag_of_another_slice_s_vlan_is_dropped(slices: Slices) -> None:
    """The guest's kernel cannot tag frames, so the live switch is asked what it would do with one."""
    nic, other = slices.mallory.nics["eth1"], slices.bob["here"].nics["eth1"]
    frame = f"in_port={nic['tap']},dl_src={nic['mac']},dl_dst={other['mac']},dl_type=0x0800"
    for tagged, verdict in (("", "Datapath actions: drop"), (f",dl_vlan={other['vlan']}", "Datapath actions: drop")):
        traced = on_host(slices.site.lab, "worker1", f"ovs-appctl ofproto/trace br-int {frame}{tagged}")
        assert f"output:{other['tap']}" not in traced
        assert tagged == "" or verdict in traced


@pytest.fixture
def listening(lab: labs.LabInfo) -> Iterator[None]:
    """Run a web server on all addresses of the network node and of a worker, on the port where sshd would be."""
    pids = {}
    for host in ("gateway", "worker1"):
        script = "busybox httpd -f -p 22 -h /var/lib/misc > /dev/null 2>&1 & echo $!"
        on_host(lab, host, "echo '<p>You have reached a host.</p>' > /var/lib/misc/index.html")
        pids[host] = on_host(lab, host, script)
        answers = "busybox wget -q -O - http://127.0.0.1:22/ > /dev/null"
        on_host(lab, host, f"for try in $(seq 50); do {answers} && exit; sleep 0.1; done; exit 1")
    yield
    for host, pid in pids.items():
        on_host(lab, host, f"kill {pid}; rm /var/lib/misc/index.html")


def test_guests_do_not_reach_the_hosts_that_carry_them(slices: Slices, listening: None) -> None:
    lab, mallory = slices.site.lab, slices.mallory
    addresses = ("10.0.10.254", "10.0.10.1")
    for host, address in product(("gateway", "worker1"), addresses):
        assert "reached" in on_host(lab, host, f"busybox wget -q -O - http://{address}:22/")
    own = next(link["gateway"] for link in slices.site.show("alice/classroom")["links"])
    for gateway, interface in ((own, "eth1"), (GATEWAY, "eth0")):
        route = f"10.0.10.0/24 via {gateway} dev {interface}"
        with changed(mallory, f"ip route add {route}", f"ip route delete {route}"):
            pages = (f"http://{address}:22/" for address in (*addresses, GATEWAY, "203.0.113.2", own))
            assert mallory.downloads_in_vain(*pages)
            assert mallory.pings_in_vain(*addresses, "10.0.10.2", "10.0.10.3")
