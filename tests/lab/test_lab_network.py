"""Trunks carry only the VLANs added to them; the outside is behind the gateway, and has no route back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from reconciler import lab as labs

pytestmark = pytest.mark.lab

VLAN = 3990  # out of the way of the slices that share this lab


def _run(lab: labs.LabInfo, host: str, script: str) -> str:
    done = labs.run_in(lab.name, host, ["sh", "-euc", script])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _reaches(lab: labs.LabInfo, host: str, address: str) -> bool:
    ping = ["ip", "netns", "exec", "frames", "busybox", "ping", "-c", "1", "-W", "1", address]
    return labs.run_in(lab.name, host, ping).returncode == 0


def _comes_to_reach(lab: labs.LabInfo, host: str, address: str) -> bool:
    """Try for some seconds: after a failure, the kernel asks for a neighbour's address only once a second."""
    return any(_reaches(lab, host, address) for _ in range(5))


@pytest.fixture
def ends(lab: labs.LabInfo) -> Iterator[dict[str, str]]:
    """Give an address in a VLAN on two workers and the gateway, each on an internal port in a namespace of its own."""
    addresses = {"worker1": "198.18.0.1", "worker2": "198.18.0.2", "gateway": "198.18.0.3"}
    for host, address in addresses.items():
        _run(
            lab,
            host,
            f"ovs-vsctl add-port br-int frames tag={VLAN} -- set interface frames type=internal;"
            "ip netns add frames; ip link set frames netns frames;"
            f"ip -n frames address add {address}/24 dev frames; ip -n frames link set frames up",
        )
    yield addresses
    for host in addresses:
        _run(lab, host, f"ovs-vsctl del-port frames -- remove port ens4 trunks {VLAN}; ip netns del frames")


def test_a_trunk_carries_only_the_vlans_added(lab: labs.LabInfo, ends: dict[str, str]) -> None:
    assert not _reaches(lab, "worker1", ends["worker2"])
    _run(lab, "worker1", f"ovs-vsctl add port ens4 trunks {VLAN}")
    assert not _reaches(lab, "worker1", ends["worker2"]), "one trunk of two carries the VLAN"
    _run(lab, "worker2", f"ovs-vsctl add port ens4 trunks {VLAN}")
    assert _comes_to_reach(lab, "worker1", ends["worker2"])
    assert not _reaches(lab, "worker1", ends["gateway"])
    _run(lab, "gateway", f"ovs-vsctl add port ens4 trunks {VLAN}")
    assert _comes_to_reach(lab, "worker1", ends["gateway"])
    _run(lab, "worker2", f"ovs-vsctl remove port ens4 trunks {VLAN}")
    assert not _reaches(lab, "worker1", ends["worker2"])


def test_full_size_frames_cross_the_trunk(lab: labs.LabInfo, ends: dict[str, str]) -> None:
    for host in ("worker1", "worker2"):
        _run(lab, host, f"ovs-vsctl add port ens4 trunks {VLAN}")
    # 1472 bytes of payload, 8 of ICMP and 20 of IP make a packet of 1500.
    answered = _run(lab, "worker1", f"ip netns exec frames busybox ping -c 2 -W 2 -s 1472 {ends['worker2']}")
    assert "1480 bytes from 198.18.0.2" in answered


def test_management_joins_every_host(lab: labs.LabInfo) -> None:
    for address in ("10.0.10.2", "10.0.10.3", "10.0.10.254"):
        assert f"64 bytes from {address}" in _run(lab, "worker1", f"busybox ping -c 2 -W 2 {address}")


def test_the_outside_is_behind_the_gateway_alone(lab: labs.LabInfo) -> None:
    page = "timeout 2 busybox wget -q -O - http://203.0.113.10/"
    assert "You have reached the outside world of the lab." in _run(lab, "gateway", page)
    assert labs.run_in(lab.name, "worker1", ["sh", "-c", page]).returncode != 0
    # From an address of the internet VLAN there is no answer: only NAT makes a download work.
    from_inside = (
        "ip address add 10.60.7.99/32 dev lo; trap 'ip address del 10.60.7.99/32 dev lo' EXIT;"
        "busybox ping -c 1 -W 1 -I 10.60.7.99 203.0.113.10"
    )
    assert labs.run_in(lab.name, "gateway", ["sh", "-c", from_inside]).returncode != 0


def test_a_large_download_is_whole(lab: labs.LabInfo) -> None:
    sums = _run(lab, "gateway", "busybox wget -q -O - http://203.0.113.10/download.bin | sha256sum; ip route").split()
    assert sums[0] == _digest(lab)
    assert "203.0.113.1" in sums


def _digest(lab: labs.LabInfo) -> str:
    return hashlib.sha256((lab.cluster_file.parent / "internet" / "download.bin").read_bytes()).hexdigest()
