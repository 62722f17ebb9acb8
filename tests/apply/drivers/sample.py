"""One VM with an internet card, a linked and an unlinked one, and all they stand on: what driver tests are about."""

from __future__ import annotations

import hashlib
import struct

from reconciler.plan.resources import (
    ROOT,
    Disk,
    Image,
    Lease,
    Nic,
    Port,
    Reservation,
    Resource,
    Router,
    Seed,
    Segment,
    Trunk,
    Uplink,
    Vm,
    address,
)
from reconciler.spec.models.cluster import FIRST_UID
from reconciler.spec.models.names import Bytes, HostName, VlanId, VmId

HOST = HostName("worker1")
SLICE = "alice/lab1"
# A whole QCOW2 of 32 KiB without data, in clusters of 512 bytes: header, refcount table, refcount block, L1 table.
_HEADER = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 9, 2**15, 0, 1, 3 * 512, 512, 1, 0, 0)
BASE = b"".join(
    part.ljust(512, b"\0") for part in (_HEADER, struct.pack(">Q", 2 * 512), struct.pack(">4H", 1, 1, 1, 1), b"")
)
GATEWAY_MAC = "52:54:00:60:07:01"
_SHA256 = hashlib.sha256(BASE).hexdigest()

IMAGE = Image(
    address=address(Image, "worker1/cirros"),
    slice=None,
    host=HOST,
    path=f"{ROOT}/images/cirros-{_SHA256[:12]}.qcow2",
    sha256=_SHA256,
)
UPLINK = Uplink(
    address=address(Uplink, "internet"),
    slice=None,
    host=HOST,
    bridge="br-int",
    interface="internet",
    vlan=VlanId(400),
    ip="10.60.7.1/24",
    mac=GATEWAY_MAC,
    uplink="ens5",
    dns=("9.9.9.9",),
    hosts=("10.0.10.1", "10.0.10.254"),
    connections=4096,
)
ROUTER = Router(address=address(Router, SLICE), slice=SLICE, host=HOST, namespace="slice-1000")
TRUNK = Trunk(
    address=address(Trunk, f"{SLICE}@worker1"),
    slice=SLICE,
    host=HOST,
    bridge="br-int",
    port="ens4",
    vlans=(VlanId(100), VlanId(101)),
    gateway_mac=None,
)
INTERNET_TRUNK = Trunk(
    address=address(Trunk, "internet@worker1"),
    slice=None,
    host=HOST,
    bridge="br-int",
    port="ens4",
    vlans=(VlanId(400),),
    gateway_mac=GATEWAY_MAC,
)
RESERVATION = Reservation(
    address=address(Reservation, f"{SLICE}/web:eth0"),
    slice=SLICE,
    host=HOST,
    mac="52:54:00:00:03:e9",
    ip="10.60.7.10",
    hostname="web",
)
SEGMENT = Segment(
    address=address(Segment, f"{SLICE}/db:eth1--web:eth1"),
    slice=SLICE,
    host=HOST,
    bridge="br-int",
    namespace=ROUTER.namespace,
    interface="seg1",
    vlan=VlanId(100),
    ip="192.168.100.1/24",
    gateway=True,
    dhcp=True,
    mtu=1500,
    leases=(
        Lease("52:54:00:00:03:ea", "192.168.100.10", "web", default_route=False),
        Lease("52:54:00:00:03:ed", "192.168.100.11", "db", default_route=True),
    ),
)
DISK = Disk(
    address=address(Disk, f"{SLICE}/web"),
    slice=SLICE,
    host=HOST,
    path=f"{ROOT}/vms/1001/web_img.qcow2",
    backing=IMAGE.path,
    size=Bytes(64 * 2**20),
)

SEED = Seed(
    address=address(Seed, f"{SLICE}/web"),
    slice=SLICE,
    host=HOST,
    path=f"{ROOT}/vms/1001/seed.iso",
    vm_id=VmId(1001),
    hostname="web",
    cloud_init="0123456789abcdef0123",
    macs=("52:54:00:03:e9:00", "52:54:00:03:e9:01"),
)


def port(number: int, vlan: int | None, gateway_mac: str | None = None, ip: str | None = None) -> Port:
    """Return the port of the VM's card with this number."""
    return Port(
        address=address(Port, f"{SLICE}/web:eth{number}"),
        slice=SLICE,
        host=HOST,
        bridge="br-int",
        tap=f"tap1001-{number}",
        mac=f"52:54:00:00:03:{0xE9 + number:02x}",
        mtu=1500,
        vlan=None if vlan is None else VlanId(vlan),
        gateway_mac=gateway_mac,
        ip=ip,
        broadcast=None if vlan is None else 1000,
    )


INTERNET_PORT = port(0, 400, GATEWAY_MAC, RESERVATION.ip)
LINKED_PORT = port(1, 100)
UNLINKED_PORT = port(2, None)
PORTS = (INTERNET_PORT, LINKED_PORT, UNLINKED_PORT)
VM = Vm(
    address=address(Vm, f"{SLICE}/web"),
    slice=SLICE,
    host=HOST,
    vm_id=VmId(1001),
    directory=f"{ROOT}/vms/1001",
    disk=DISK.path,
    vcpus=1,
    memory=Bytes(64 * 2**20),
    nics=tuple(Nic(one.tap, one.mac) for one in PORTS),
    vnc=5901,
    accelerator="tcg",
    uid=FIRST_UID + 1001,
)

EVERYTHING: tuple[Resource, ...] = (
    IMAGE,
    UPLINK,
    ROUTER,
    TRUNK,
    INTERNET_TRUNK,
    RESERVATION,
    SEGMENT,
    DISK,
    SEED,
    *PORTS,
    VM,
)
"""In an order in which each finds what it needs."""
