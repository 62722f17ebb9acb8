"""Each port has meters of its own on its bridge, and what limits a guest outlasts its switch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from reconciler.apply.drivers import port, switch
from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.drivers.switch import Flow
from reconciler.apply.transport.command import Result
from reconciler.plan.resources import Port, address
from reconciler.spec.models.names import BitRate
from tests.apply.drivers.realhost import real_host
from tests.apply.drivers.sample import LINKED_PORT
from tests.apply.drivers.test_bridge import RESTART

WRAPPED = 6000  # ids of VMs whose ports prefer the same number differ by that
SLOW = replace(LINKED_PORT, bandwidth=BitRate(8_000_000))


def of_vm(number: int) -> Port:
    return replace(SLOW, address=address(Port, f"alice/lab1/vm{number}:eth1"), tap=f"tap{number}-1")


def facts(ports: Sequence[Port], flows: Sequence[tuple[str, Flow]]) -> list[port.PortFact]:
    """Return the facts of ports on a host with these flows of TAPs, and nothing else."""
    lines = [f" cookie={switch.cookie(tap):#x}, {str(one).replace(',actions', ' actions')}\n" for tap, one in flows]
    tables = "\n".join(['{"headings":[],"data":[]}'] * 3)
    outputs = ["\n" * 6 * len(ports), tables, "", "".join(lines), ""]
    found = port.parse(ports, [Result(0, text) for text in outputs])
    return [found[one.address] for one in ports]


def test_ports_that_prefer_the_same_meters_get_different_ones() -> None:
    ports = [of_vm(1000 + times * WRAPPED // 2) for times in range(5)]
    numbers = [number for fact in facts(ports, []) for number in fact.numbers]
    assert len(set(numbers)) == len(numbers) == 10
    assert all(0 < number <= 200_000 for number in numbers)


def test_a_port_keeps_the_meters_that_its_flows_name() -> None:
    first, second = of_vm(1000), of_vm(1000 + WRAPPED)
    numbers = facts([first], [])[0].numbers
    own = [(first.tap, one) for one in port.guard(first, numbers)]
    later, earlier = facts([second, first], own)
    assert earlier.numbers == numbers
    assert not {*later.numbers} & {*numbers}


def test_of_two_ports_that_share_meters_one_gets_others() -> None:
    pair = of_vm(1000), of_vm(1000 + WRAPPED)
    numbers = facts(pair[:1], [])[0].numbers
    both = [(one.tap, flow) for one in pair for flow in port.guard(one, numbers)]
    kept = [fact.numbers == numbers for fact in facts(pair, both)]
    assert sorted(kept) == [False, True]
    assert [fact.numbers == numbers for fact in facts(pair[::-1], both)] == kept[::-1]


@pytest.mark.lab
def test_the_limits_of_a_port_outlast_its_switch() -> None:
    driver = DRIVERS[Port.kind]
    with real_host() as host:
        host.perform(driver.ensure(SLOW, host.probe(driver, [SLOW])[SLOW.address], None))
        before = host.probe(driver, [SLOW])[SLOW.address]
        observed = driver.observed(SLOW, before)
        assert observed is not None
        assert observed["bandwidth"] == SLOW.bandwidth
        time.sleep(0.5)
        for _ in range(2):
            host.sh(RESTART)
            deadline = time.monotonic() + 5
            while (found := host.probe(driver, [SLOW])[SLOW.address]) != before and time.monotonic() < deadline:
                time.sleep(0.05)
            assert found == before
            time.sleep(0.5)
