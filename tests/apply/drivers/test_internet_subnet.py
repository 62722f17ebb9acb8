"""The internet subnet is one that nothing else of the network node uses: its packets would go to guests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from reconciler.apply.drivers import uplink as driver
from reconciler.apply.drivers.uplink import FREE
from reconciler.apply.observation.fitness import PROBE
from reconciler.apply.transport.command import Command, script
from tests.apply.drivers.realhost import RealHost, real_host
from tests.apply.drivers.sample import UPLINK

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def host() -> Iterator[RealHost]:
    with real_host() as one:
        one.sh("ip route add default via 203.0.113.1 dev ens5; ip route add 10.99.0.0/16 via 203.0.113.1")
        one.sh("ip address add 10.7.0.1/16 dev lo; ip route add blackhole 10.60.0.0/15")
        yield one


@pytest.mark.parametrize(
    ("subnet", "found"),
    [
        ("203.0.113.0/24", "203.0.113.0/24 dev ens5 proto kernel scope link src 203.0.113.2"),
        ("203.0.113.0/25", "203.0.113.0/24 dev ens5 proto kernel src 203.0.113.2"),
        ("203.0.0.0/16", "203.0.113.0/24 dev ens5 proto kernel scope link src 203.0.113.2"),
        ("10.99.0.0/16", "10.99.0.0/16 via 203.0.113.1 dev ens5"),
        ("10.7.0.0/24", "local 10.7.0.1 dev lo proto kernel scope host src 10.7.0.1"),
        ("10.60.7.0/24", ""),
        ("10.99.1.0/24", ""),
    ],
)
def test_routes_into_it_and_networks_around_it_are_found(host: RealHost, subnet: str, found: str) -> None:
    refused = host.run(script(FREE, subnet, "inet400"))
    assert (refused.status == 0) == (found == "")
    assert found in refused.output
    told = host.run(script(PROBE, "/var/lib/reconciler", "br-int", "ens4", "ens5", subnet, "inet400"))
    assert f"overlap {found}" in [line.strip() for line in told.output.splitlines()] or not found


def test_the_gateway_is_refused_before_anything_is_there_and_its_own_route_is_no_overlap(host: RealHost) -> None:
    taken = replace(UPLINK, ip="203.0.113.1/24")
    (first, *_) = driver.ensure(
        taken, driver.parse([taken], [host.run(one) for one in driver.probe([taken])])[taken.address], None
    )
    assert isinstance(first, Command)
    assert host.run(first).status == 1
    assert UPLINK.interface not in host.sh("ip -o link")
    for _ in range(2):
        fact = driver.parse([UPLINK], [host.run(one) for one in driver.probe([UPLINK])])[UPLINK.address]
        host.perform(driver.ensure(UPLINK, fact, None))
        host.sh(f"ip link set {UPLINK.interface} down")
