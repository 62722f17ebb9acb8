"""What drivers ask for, run for real on throw-away hosts: every captured state is mended, kept and cleared away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.apply.drivers.registry import DRIVERS
from reconciler.errors import HostError
from reconciler.plan.resources import KINDS, Resource, to_data
from tests.apply.drivers.capture import STATES, State, bring_about
from tests.apply.drivers.realhost import RealHost, real_host
from tests.apply.drivers.sample import BASE, EVERYTHING

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
        "find /var/lib/reconciler ! -type d; ps -eo comm= | grep -Ev '^(ps|sh|grep|sort)$' | sort"
    )
