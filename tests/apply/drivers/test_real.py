"""What drivers ask for, run for real on throw-away hosts: every captured state is mended, kept and cleared away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.apply.drivers import bridge
from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.transport.command import Command
from reconciler.errors import HostError
from reconciler.plan.resources import KINDS, Resource, to_data
from tests.apply.drivers.capture import STATES, State, bring_about
from tests.apply.drivers.realhost import RealHost, real_host
from tests.apply.drivers.sample import BASE, DISK, EVERYTHING, IMAGE

pytestmark = pytest.mark.lab


@pytest.fixture
def host() -> Iterator[RealHost]:
    with real_host() as one:
        (one.uploads / "base").write_bytes(BASE)
        yield one


def fact_of(host: RealHost, resource: Resource) -> object:
    return host.probe(DRIVERS[resource.kind], [resource])[resource.address]


def stands(host: RealHost, resource: Resource) -> bool:
    """Whether a resource is observed to be just as wanted, with nothing left to do."""
    driver = DRIVERS[resource.kind]
    fact = fact_of(host, resource)
    observed = driver.observed(resource, fact)
    wanted = to_data(resource)
    return observed == {name: wanted[name] for name in observed or {}} and driver.ensure(resource, fact, resource) == ()


def absent(host: RealHost, resource: Resource) -> bool:
    driver = DRIVERS[resource.kind]
    fact = fact_of(host, resource)
    return driver.observed(resource, fact) is None and driver.remove(resource, fact) == ()


@pytest.mark.parametrize("kind", [noun.kind for noun in KINDS.values()])
def test_every_state_is_repaired_or_refused_and_then_removed(kind: str) -> None:
    for state in STATES:
        if state.resource.kind == kind and state.end != "unmet":
            with real_host() as host:
                bring_about(host, state)
                if state.end == "refused":
                    check_refused(host, state)
                else:
                    check_mended(host, state)


def check_refused(host: RealHost, state: State) -> None:
    with pytest.raises(HostError):
        DRIVERS[state.resource.kind].ensure(state.resource, fact_of(host, state.resource), state.before)


def check_mended(host: RealHost, state: State) -> None:
    driver, resource = DRIVERS[state.resource.kind], state.resource
    host.perform(driver.ensure(resource, fact_of(host, resource), state.before))
    assert stands(host, resource), f"{state.name}: {fact_of(host, resource)}"
    host.perform(driver.remove(resource, fact_of(host, resource)))
    assert absent(host, resource), f"{state.name}: {fact_of(host, resource)}"


def test_everything_at_once_leaves_nothing_behind(host: RealHost) -> None:
    host.sh("ovs-vsctl set Port ens4 trunks=4094")
    host.perform([bridge.secure("br-int")])  # stays, as the first slice of a host leaves it
    empty = _census(host)
    for resource in EVERYTHING:
        assert absent(host, resource)
        host.perform(DRIVERS[resource.kind].ensure(resource, fact_of(host, resource), None))
    assert all(stands(host, resource) for resource in EVERYTHING)
    for resource in reversed(EVERYTHING):
        host.perform(DRIVERS[resource.kind].remove(resource, fact_of(host, resource)))
    assert all(absent(host, resource) for resource in EVERYTHING)
    assert _census(host) == empty


def _census(host: RealHost) -> str:
    """Return what stands on a host: interfaces, namespaces, rules, switch ports, flows, files, processes, settings."""
    return host.sh(
        "ip -o link | cut -d: -f2; ip neighbour; ip netns; nft list ruleset; sysctl net.ipv4.conf.ens5.forwarding; "
        "ovs-vsctl --columns=name,tag,trunks,external_ids list Port; ovs-ofctl --no-stats dump-flows br-int; "
        "find /var/lib/reconciler ! -type d ! -path '*/flows/*'; "
        "ps -eo comm= | grep -Ev '^(ps|sh|grep|sort|ovs-ofctl|timeout|cat)$' | sort"
    )


@pytest.mark.parametrize(
    ("by_hand", "what"),
    [
        ("head -c 65536 /dev/zero > {path}", "is not a QCOW2 image"),
        ("qemu-img create -q -f qcow2 -F raw -b /etc/hostname {path} 32k", "has a backing file, which the guest would"),
        ("qemu-img create -q -f qcow2 -o data_file=/run/data.raw {path} 32k", "keeps its data in another file"),
        ("qemu-img create -q -f qcow2 {path} 3G", "has 3221225472 bytes, more than the disk, which has 67108864"),
    ],
)
def test_no_overlay_is_made_on_a_base_that_cannot_be_used(host: RealHost, by_hand: str, what: str) -> None:
    host.perform(DRIVERS[IMAGE.kind].ensure(IMAGE, fact_of(host, IMAGE), None))
    host.sh(f"rm {IMAGE.path}; {by_hand.format(path=IMAGE.path)}")
    (command,) = DRIVERS[DISK.kind].ensure(DISK, fact_of(host, DISK), None)
    assert isinstance(command, Command)
    result = host.run(command)
    assert (result.status, f"{IMAGE.path} {what}" in result.output) == (1, True), result.output
    assert host.sh(f"ls {DISK.path.rpartition('/')[0]} 2> /dev/null || :").strip() == ""
