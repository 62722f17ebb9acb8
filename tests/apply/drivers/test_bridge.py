"""A bridge in use is made to fail closed with all its flows, and gets them back when the switch restarts."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from reconciler.apply.drivers.bridge import BASE_COOKIE, KEEP, KEEPER, SECURE, secure
from reconciler.apply.drivers.switch import Meter, cookie, set_meter
from reconciler.apply.transport.command import script
from tests.apply.drivers.realhost import RealHost, real_host

pytestmark = pytest.mark.lab

OURS = cookie("a port")
# The switch refuses to start as long as one that was killed still has the lock of the pidfile.
START = """
until ovs-vswitchd -vconsole:off -vsyslog:off --pidfile --detach --log-file=/run/openvswitch/log; do sleep 0.05; done
"""
RESTART = f"""
kill -9 $(pidof ovs-vswitchd)
while pidof ovs-vswitchd > /dev/null; do sleep 0.01; done
{START}
"""


@pytest.fixture
def host() -> Iterator[RealHost]:
    with real_host() as one:
        yield one


def flows(host: RealHost) -> list[str]:
    return sorted(host.sh("ovs-ofctl --names --no-stats dump-flows br-int").split("\n"))


def flows_become(host: RealHost, expected: list[str]) -> list[str]:
    """Wait some seconds until the flows are as expected, and return them."""
    deadline = time.monotonic() + 5
    while (found := flows(host)) != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def in_use(host: RealHost) -> None:
    """Give the bridge a flow of ours and one of somebody else."""
    host.sh(f"ovs-ofctl add-flow br-int cookie={OURS:#x},priority=190,in_port=ens4,dl_vlan=400,actions=drop")
    host.sh("ovs-ofctl add-flow br-int priority=7,in_port=ens4,dl_vlan=77,actions=drop")


def test_a_bridge_in_use_is_converted_with_all_its_flows(host: RealHost) -> None:
    in_use(host)
    before = flows(host)
    host.perform([secure("br-int")])
    assert host.sh("ovs-vsctl get-fail-mode br-int").strip() == "secure"
    base = f" cookie={BASE_COOKIE:#x}, priority=0 actions=NORMAL"
    assert flows(host) == sorted([base, *(line for line in before if line != " priority=0 actions=NORMAL")])
    host.perform([secure("br-int")])
    host.sh("sleep 0.5")
    assert host.sh("pgrep -fc --parent 1 '^sh /var/lib/reconciler/flows/keep'").strip() == "1", (
        "a bridge has one keeper"
    )


def test_the_keeper_loads_our_flows_when_the_switch_has_restarted(host: RealHost) -> None:
    host.perform([secure("br-int")])
    time.sleep(0.5)
    in_use(host)
    ours = [line for line in flows(host) if "priority=7" not in line]
    time.sleep(0.5)
    for _ in range(2):
        host.sh(RESTART)
        assert flows_become(host, ours) == ours


def test_flows_are_loaded_although_a_port_is_gone(host: RealHost) -> None:
    host.perform([secure("br-int")])
    host.sh("ovs-vsctl add-port br-int gone -- set Interface gone type=internal")
    host.sh(f"ovs-ofctl add-flow br-int cookie={OURS:#x},priority=9,in_port=gone,actions=drop")
    in_use(host)
    ours = [line for line in flows(host) if "priority=7" not in line and "gone" not in line]
    time.sleep(0.5)
    host.sh("kill -9 $(pidof ovs-vswitchd); ovs-vsctl --no-wait del-port gone")
    host.sh(START)
    assert flows_become(host, ours) == ours


def metered(host: RealHost) -> tuple[str, list[str]]:
    """Return the meters, and the flows with their meters."""
    of = "ovs-ofctl -O OpenFlow14"
    flows = host.sh(f"{of} --names --no-stats dump-flows br-int")
    return host.sh(f"{of} dump-meters br-int").partition("\n")[2], sorted(flows.split("\n"))


def in_use_with_a_meter(host: RealHost) -> None:
    """Give the bridge a meter and a flow of ours that passes it."""
    host.perform([set_meter("br-int", 32033, Meter("pktps", 40, 40))])
    match = f"cookie={OURS:#x},priority=210,in_port=ens4,dl_vlan=400"
    host.sh(f"ovs-ofctl -O OpenFlow14 add-flow br-int {match},actions=meter:32033,NORMAL; sleep 0.5")


def test_meters_are_loaded_again_with_the_flows_that_pass_them(host: RealHost) -> None:
    host.perform([secure("br-int")])
    in_use_with_a_meter(host)
    before = metered(host)
    assert "meter=32033 pktps burst bands=\ntype=drop rate=40 burst_size=40" in before[0]
    assert any(line.endswith("actions=meter:32033,NORMAL") for line in before[1])
    for _ in range(2):
        host.sh(RESTART)
        deadline = time.monotonic() + 5
        while metered(host) != before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert metered(host) == before
        time.sleep(0.5)


def test_a_bridge_that_fails_open_keeps_its_meters_when_it_is_converted(host: RealHost) -> None:
    in_use_with_a_meter(host)
    host.perform([secure("br-int")])
    assert "meter=32033 pktps burst" in metered(host)[0]
    assert any(line.endswith("actions=meter:32033,NORMAL") for line in metered(host)[1])


def test_a_keeper_of_an_earlier_version_is_replaced(host: RealHost) -> None:
    host.perform([script(SECURE, KEEPER.rpartition("/")[0], "br-int", KEEP.replace("save_meters\n", ":\n"))])
    keeper = "pgrep -f --parent 1 '^sh /var/lib/reconciler/flows/keep watch br-int'"
    before = host.sh(f"sleep 0.3; {keeper}").split()
    host.perform([secure("br-int"), secure("br-int")])
    after = host.sh(f"sleep 0.3; {keeper}").split()
    assert (len(before), len(after)) == (1, 1)
    assert before != after
    in_use_with_a_meter(host)
    assert "meter=32033,pktps" in host.sh("cat /var/lib/reconciler/flows/br-int.meters")
