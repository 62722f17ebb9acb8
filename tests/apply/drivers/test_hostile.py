"""Hosts that fail or print nonsense, and names that would be commands: drivers say so, and never run a word of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from reconciler.apply.drivers import port, reservation, router, segment, switch, trunk, vm
from reconciler.apply.drivers.network import Link
from reconciler.apply.drivers.qemu import launch
from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.transport.command import Command, Result
from reconciler.errors import HostError
from reconciler.plan.resources import Lease, Resource
from reconciler.spec.models.names import Address, BitRate
from tests.apply.drivers.sample import (
    DISK,
    EVERYTHING,
    IMAGE,
    LINKED_PORT,
    PORTS,
    RESERVATION,
    ROUTER,
    SEGMENT,
    TRUNK,
    UPLINK,
    VM,
)

ONE_OF_EACH = (IMAGE, UPLINK, ROUTER, TRUNK, RESERVATION, SEGMENT, DISK, LINKED_PORT, VM)
NUMBERS = port.Numbers(1, 2)
NONSENSE = (
    "",
    "\n",
    "Welcome to worker1!\n" * 3,
    "{}\n{}\n{}\n",
    '{"data":[["a"]],"headings":["b"]}\n' * 3,
    "[]\n[]\n[]\n",
    "null\n" * 9,
    "--\n",
    ".\n",
    "x" * 100_000,
    "ovs-vsctl: unix:/var/run/openvswitch/db.sock: database connection failed (No such file or directory)\n",
)


def commands_of(resource: Resource) -> int:
    return len(DRIVERS[resource.kind].probe([resource]))


@pytest.mark.parametrize("resource", ONE_OF_EACH, ids=lambda one: one.kind)
def test_a_probe_that_fails_is_an_error_in_the_hosts_own_words(resource: Resource) -> None:
    results = [Result(1, "sh: 1: ovs-vsctl: not found\n")] * commands_of(resource)
    with pytest.raises(HostError, match=r"^worker1: sh: 1: ovs-vsctl: not found$"):
        DRIVERS[resource.kind].parse([resource], results)


@pytest.mark.parametrize("text", NONSENSE, ids=range(len(NONSENSE)))
@pytest.mark.parametrize("resource", ONE_OF_EACH, ids=lambda one: one.kind)
def test_nonsense_is_an_error_or_nothing_of_ours(resource: Resource, text: str) -> None:
    driver = DRIVERS[resource.kind]
    try:
        fact = driver.parse([resource], [Result(0, text)] * commands_of(resource))[resource.address]
        observed = driver.observed(resource, fact)
    except HostError:
        return
    assert observed is None


@pytest.mark.parametrize("resource", ONE_OF_EACH, ids=lambda one: one.kind)
def test_a_probe_takes_as_many_commands_for_many_resources_as_for_one(resource: Resource) -> None:
    many = [replace(resource, address=Address(f"{resource.address}{number}")) for number in range(50)]
    assert len(DRIVERS[resource.kind].probe(many)) == commands_of(resource)


def texts(commands: Sequence[object]) -> list[str]:
    return [one.argv[2] for one in commands if isinstance(one, Command) and one.argv[0] == "sh"]


@pytest.mark.parametrize(
    "evil", ["$(reboot)", "; reboot", "`reboot`", "--help", "a b", "'", '"', "\n", "${IFS}", "x,y"]
)
def test_what_varies_is_never_part_of_a_shell_text(evil: str) -> None:
    nothing = Result(0, "\n" * 6), Result(0, "\n".join(['{"headings":[],"data":[]}'] * 3)), *[Result(0, "")] * 3
    slowed = replace(LINKED_PORT, bandwidth=BitRate(8_000_000))
    fresh = port.parse([slowed], nothing)[slowed.address]
    known = texts(port.ensure(slowed, fresh, None))
    assert texts(port.ensure(replace(slowed, tap=evil, mac=evil, bridge=evil), fresh, None)) == known
    down = vm.VmFact((), left=False)
    assert texts(vm.ensure(replace(VM, disk=evil, directory=evil), down, None)) == texts(vm.ensure(VM, down, None))
    for resource in EVERYTHING:
        odd = replace(resource, address=Address(evil))
        assert texts(DRIVERS[resource.kind].probe([odd])) == texts(DRIVERS[resource.kind].probe([resource]))


@pytest.mark.parametrize("evil", ["../../etc", "..", ".", "", "a/b", "a\0b", "a\nb"])
def test_names_lead_nowhere_but_to_our_directory(evil: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a file"):
        router.DRIVER.probe([replace(ROUTER, namespace=evil)])
    with pytest.raises(ValueError, match="cannot be the name of a file"):
        segment.DRIVER.probe([replace(SEGMENT, namespace=evil)])
    if evil:
        with pytest.raises(ValueError, match="cannot be the name of a file"):
            reservation.DRIVER.probe([replace(RESERVATION, mac=f"{evil}/..")])


@pytest.mark.parametrize("evil", ['a" } ; flush ruleset', "a}", "a b", "abcdefghijklmnop", "-a"])
def test_names_become_no_rules(evil: str) -> None:
    fact = segment.SegmentFact(None, here=False, link=None, forwards=False, configuration="", clients=frozenset())
    with pytest.raises(ValueError, match="cannot be the name of a network interface"):
        segment.ensure(replace(SEGMENT, interface=evil), fact, None)


@pytest.mark.parametrize("evil", ["", "52:54:00:00:00:01 }; flush ruleset", "52:54:00:00:00", "52:54:00:00:00:0G"])
def test_macs_become_no_rules(evil: str) -> None:
    fact = segment.SegmentFact(None, here=False, link=None, forwards=False, configuration="", clients=frozenset())
    leases = (Lease(evil, "10.0.0.2", "a", default_route=True),)
    with pytest.raises(ValueError, match="is not a MAC"):
        segment.ensure(replace(SEGMENT, leases=leases), fact, None)


def test_qemu_reads_commas_in_paths_as_such() -> None:
    argv = launch(replace(VM, disk="/a,readonly=on", directory="/b,c"))
    assert "file=/a,,readonly=on,format=qcow2,if=none,id=disk0,node-name=overlay0" in argv
    assert "file=/b,,c/network.iso,format=raw,if=none,id=network0,readonly=on" in argv


def test_as_many_cards_as_a_vm_may_have_fit_on_the_bus() -> None:
    devices = [one for one in launch(replace(VM, nics=VM.nics[:1] * 29)) if one.startswith("virtio-net-pci")]
    slots = [int(one.partition("addr=")[2].partition(",")[0], 16) for one in devices]
    assert slots == list(range(3, 32))


def test_cookies_are_ours_and_differ_from_name_to_name() -> None:
    cookies = {switch.cookie(f"tap{number}") for number in range(5000)}
    assert len(cookies) == 5000
    assert {number >> 48 for number in cookies} == {0x7263}


def test_trunks_of_one_port_are_probed_once() -> None:
    command = trunk.probe([TRUNK, replace(TRUNK, address=Address("trunk/other"))])[0]
    assert command.argv.count(TRUNK.port) == 2  # in the tables Port and Interface


def test_a_lease_is_read_back_as_it_was_written() -> None:
    leases = (Lease("52:54:00:00:00:01", "10.0.0.2", "a", default_route=True), *SEGMENT.leases)
    one = replace(SEGMENT, leases=leases)
    link = Link("", one.mtu, up=True, addresses=(one.ip,))
    macs = frozenset(lease.mac for lease in leases)
    fact = segment.SegmentFact(_on_switch(one.interface), False, link, True, segment.configuration(one), macs)  # noqa: FBT003
    observed = segment.observed(one, fact)
    assert observed is not None
    assert [lease["hostname"] for lease in observed["leases"]] == ["a", "web", "db"]
    assert observed["dhcp"]


def _on_switch(name: str) -> switch.SwitchPort:
    tags = {"reconciler": str(SEGMENT.address)}
    return switch.SwitchPort(name, "br-int", 100, "access", tags=tags, type="internal", ofport=3)


def test_a_port_without_an_address_may_send_nothing_on_the_internet() -> None:
    assert {flow.actions for flow in port.guard(replace(PORTS[0], ip=None), NUMBERS)} == {"drop"}


def test_every_port_is_held_to_its_own_mac() -> None:
    for one in PORTS[:2]:
        flows = port.guard(one, NUMBERS)
        assert all(f"in_port={one.tap}" in flow.match for flow in flows)
        assert all(f"dl_src={one.mac}" in flow.match for flow in flows if flow.actions != "drop")
        assert sum(flow.actions == "drop" for flow in flows) == 1
