"""The first example on the lab: its guests reach each other and the internet, and are as `show` says."""

from __future__ import annotations

import pytest

from tests.lab.census import census, settled
from tests.lab.site import EXAMPLES, Site, Vm, on_host

pytestmark = [pytest.mark.lab, pytest.mark.guests]

FILE = EXAMPLES / "two-vms.yaml"
PAGE = "http://203.0.113.10/"


@pytest.fixture(scope="module")
def vms(module_site: Site) -> dict[str, Vm]:
    """Apply the example, and wait for its guests."""
    module_site.apply(FILE)
    found = module_site.vms("two-vms")
    for vm in found.values():
        vm.settle()
    return found


def test_the_numbers_are_those_that_users_know(module_site: Site, vms: dict[str, Vm]) -> None:
    shown = module_site.show("admin/two-vms")
    assert (shown["id"], shown["pool"], shown["sync"]) == (1000, ["100-119"], "Synced")
    assert [(vm["name"], vm["id"], vm["worker"], vm["vnc"]) for vm in shown["vms"]] == [
        ("db", 1001, "worker1", "127.0.0.1:5901"),
        ("web", 1002, "worker2", "127.0.0.1:5901"),
    ]
    assert [(link["id"], link["vlan"], link["subnet"], link["gateway"]) for link in shown["links"]] == [
        (1, 100, "192.168.100.0/24", "192.168.100.1")
    ]
    assert [vms["web"].nics[name]["vlan"] for name in ("eth0", "eth1")] == [400, 100]
    assert vms["db"].nics["eth0"]["vlan"] is None


def test_guests_have_what_show_says(vms: dict[str, Vm]) -> None:
    for name, vm in vms.items():
        for interface, nic in vm.nics.items():
            assert vm.run(f"cat /sys/class/net/{interface}/address") == nic["mac"]
            found = vm.run(f"ip -4 -o address show dev {interface} | awk '{{print $4}}' | cut -d / -f 1")
            assert found == (nic["ip"] or "")
        assert vm.run("hostname") == name
        assert int(vm.run("nproc")) == vm.data["vcpus"]
        # The kernel and QEMU's firmware keep some of it for themselves.
        megabytes = int(vm.run("grep MemTotal /proc/meminfo").split()[1]) // 1024
        assert 0.8 * vm.data["memory"] < megabytes * 1024 * 1024 <= vm.data["memory"]


def test_the_screen_is_on_the_worker_s_loopback_alone(module_site: Site, vms: dict[str, Vm]) -> None:
    for vm in vms.values():
        port = vm.data["vnc"].rpartition(":")[2]
        assert on_host(module_site.lab, vm.worker, f"timeout 2 busybox nc 127.0.0.1 {port} | head -c 3") == "RFB"
        assert on_host(module_site.lab, vm.worker, f"ss -Hltn sport = :{port}").split()[3] == f"127.0.0.1:{port}"


def test_the_link_carries_frames_across_two_workers(vms: dict[str, Vm]) -> None:
    assert vms["web"].worker != vms["db"].worker
    assert vms["web"].pings(vms["db"].ip("eth1"))
    assert vms["db"].pings(vms["web"].ip("eth1"))
    assert vms["web"].pings(vms["db"].ip("eth1"), "-s 1472"), "a whole frame, 1,500 bytes"


def test_the_internet_is_reached_through_nat(vms: dict[str, Vm]) -> None:
    assert vms["web"].downloads(PAGE)
    assert vms["db"].downloads_in_vain(PAGE), "db has no `internet: true`"


def test_applying_twice_changes_nothing(module_site: Site, vms: dict[str, Vm]) -> None:
    before = census(module_site.lab)
    pids = [vm.pid for vm in vms.values()]
    again = module_site.apply(FILE)
    assert "No changes." in again.out
    assert again.err == "", "no step was taken"
    module_site.in_sync(FILE)
    assert settled(module_site.lab, before) == []
    assert [vm.pid for vm in vms.values()] == pids
