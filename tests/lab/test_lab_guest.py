"""The lab's guest image boots from an overlay, uses DHCP, reaches the outside by NAT, and powers off."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from reconciler import lab as labs
from reconciler.errors import LabError
from reconciler.lab.folder import locate

pytestmark = pytest.mark.lab

VM_ID = 9001
FOLDER = f"/var/lib/reconciler/vms/{VM_ID}"
MACS = ("52:54:00:23:29:00", "52:54:00:23:29:01")

# What the reconciler's drivers do, in its simplest form: two TAPs, an overlay, and QEMU as on any host.
_BOOT = f"""
mkdir -p {FOLDER}
qemu-img create -q -f qcow2 -b /var/lib/reconciler/base.qcow2 -F qcow2 {FOLDER}/disk.qcow2 1G
for n in 0 1; do
    ip tuntap add tap9001-$n mode tap
    ip link set tap9001-$n up
done
ovs-vsctl add-port br-int tap9001-0 tag=400 -- add-port br-int tap9001-1 tag=101 -- add port ens4 trunks 400
qemu-system-x86_64 -name guest -machine pc,accel=tcg -smp 1 -m 256 -display none -daemonize \
    -pidfile {FOLDER}/pid -serial unix:{FOLDER}/serial.sock,server=on,wait=off \
    -qmp unix:{FOLDER}/qmp.sock,server=on,wait=off -drive file={FOLDER}/disk.qcow2,format=qcow2,if=virtio \
    -netdev tap,id=n0,ifname=tap9001-0,script=no,downscript=no -device virtio-net-pci,netdev=n0,mac={MACS[0]} \
    -netdev tap,id=n1,ifname=tap9001-1,script=no,downscript=no -device virtio-net-pci,netdev=n1,mac={MACS[1]}
"""
_GATEWAY = f"""
ovs-vsctl add-port br-int inet tag=400 -- set interface inet type=internal -- add port ens4 trunks 400
ip address add 10.60.7.1/24 dev inet
ip link set inet up
echo 1 > /proc/sys/net/ipv4/ip_forward
dnsmasq --conf-file=/dev/null --port=0 --interface=inet --bind-interfaces --pid-file=/run/dnsmasq.pid \
    --dhcp-leasefile=/run/leases --dhcp-range=10.60.7.0,static --dhcp-host={MACS[0]},10.60.7.23,web \
    --dhcp-option=option:dns-server,192.0.2.53
"""
_NAT = """
nft -f - << RULES
table ip nat {
    chain out {
        type nat hook postrouting priority srcnat
        ip saddr 10.60.7.0/24 oifname ens5 masquerade
    }
}
RULES
"""


@dataclass(frozen=True)
class Booted:
    lab: labs.LabInfo
    guest: labs.Guest
    seconds: float

    def host(self, name: str, script: str) -> str:
        done = labs.run_in(self.lab.name, name, ["sh", "-euc", script])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def monitor(self, command: str, arguments: dict[str, object]) -> None:
        """Tell QEMU to do something, as the QMP specification says."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self.guest.serial.with_name("qmp.sock")))
            with monitor.makefile() as lines:
                replies = (reply for line in lines if "event" not in (reply := json.loads(line)))
                assert "QMP" in next(replies)
                for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                    monitor.sendall(json.dumps(request).encode())
                    assert "return" in next(replies)


@pytest.fixture(scope="module")
def booted(lab_allowed: None, module_lab: Callable[..., labs.LabInfo]) -> Booted:
    """Boot one guest on worker1 of a lab of its own, with eth0 on VLAN 400 and eth1 on a VLAN that leads nowhere."""
    lab = module_lab(workers=1)
    image = Path(YAML(typ="safe").load(lab.cluster_file)["images"]["cirros"]["file"])
    (locate(lab.name).disk("worker1") / "reconciler" / "base.qcow2").write_bytes(image.read_bytes())
    began = time.monotonic()
    assert labs.run_in(lab.name, "worker1", ["sh", "-euc", _BOOT]).stderr == ""
    guest = labs.guest_of(lab.name, "worker1", VM_ID)
    guest.wait_for_shell()
    seconds = time.monotonic() - began
    return Booted(lab, guest, seconds)


def test_it_boots_in_seconds(booted: Booted) -> None:
    assert booted.seconds < 30, "3 to 4 s on an idle machine"
    assert booted.guest.run("cat /sys/block/vda/size") == str(1024 * 1024 * 1024 // 512)
    assert booted.guest.run("hostname") == "guest"


def test_interfaces_come_in_the_order_given(booted: Booted) -> None:
    assert booted.guest.run("cat /sys/class/net/eth0/address /sys/class/net/eth1/address").split() == list(MACS)


def test_the_console_returns_output_errors_and_exit_codes(booted: Booted) -> None:
    assert booted.guest.run("echo one; echo two >&2; echo 'it''s \"quoted\" $HOME'").split("\n") == [
        "one",
        "two",
        'its "quoted" $HOME',
    ]
    assert booted.guest.run("echo before; exit 3", check=False) == "before"
    with pytest.raises(LabError, match="exited with 3"):
        booted.guest.run("exit 3")
    with pytest.raises(LabError, match=r"did not finish within 0\.5 s"):
        booted.guest.run("sleep 60", timeout=0.5)
    assert booted.guest.run("echo again") == "again"


def test_late_dhcp_is_used(booted: Booted) -> None:
    assert booted.guest.run("ip -4 address show dev eth0") == "", "no one has offered a lease yet"
    booted.host("gateway", _GATEWAY)
    assert booted.guest.address("eth0") == "10.60.7.23"
    assert booted.guest.run("ip -4 route show default").split()[:5] == ["default", "via", "10.60.7.1", "dev", "eth0"]
    assert booted.guest.run("hostname") == "web"
    assert booted.guest.run("cat /etc/resolv.conf") == "nameserver 192.0.2.53"
    assert booted.guest.run("ip -4 address show dev eth1") == ""
    assert booted.host("gateway", "busybox ping -c 1 -W 5 10.60.7.23 > /dev/null && echo answered") == "answered"


def test_only_nat_makes_a_download_work(booted: Booted) -> None:
    page = "timeout 3 wget -q -O - http://203.0.113.10/"
    assert "outside world" not in booted.guest.run(page, check=False)
    booted.host("gateway", _NAT)
    assert "You have reached the outside world of the lab." in booted.guest.run(page)
    content = (booted.lab.cluster_file.parent / "internet" / "download.bin").read_bytes()
    fetched = booted.guest.run("wget -q -O - http://203.0.113.10/download.bin | sha256sum", timeout=90)
    assert fetched.split()[0] == hashlib.sha256(content).hexdigest()


def test_an_interface_plugged_in_later_takes_dhcp(booted: Booted) -> None:
    booted.monitor("netdev_add", {"type": "user", "id": "late"})
    booted.monitor("device_add", {"driver": "virtio-net-pci", "netdev": "late", "id": "late"})
    assert booted.guest.address("eth2") == "10.0.2.15", "QEMU's own network gives this address"


def test_a_guest_asks_again_for_its_address_on_a_link_that_was_lost(booted: Booted) -> None:
    booted.monitor("set_link", {"name": "late", "up": False})
    assert booted.guest.run("sleep 0.5; cat /sys/class/net/eth2/carrier") == "0"
    assert booted.guest.run("sleep 3; ip -4 -o address show dev eth2") == ""
    booted.monitor("set_link", {"name": "late", "up": True})
    assert booted.guest.address("eth2") == "10.0.2.15"


def test_the_power_button_powers_off(booted: Booted) -> None:
    booted.monitor("system_powerdown", {})
    deadline = time.monotonic() + 20
    while booted.host("worker1", f"kill -0 $(cat {FOLDER}/pid) 2> /dev/null && echo on || echo off") == "on":
        assert time.monotonic() < deadline, "the guest ignores its power button"
        time.sleep(0.2)
    with pytest.raises(LabError, match="no guest at"):
        booted.guest.run("true")
