"""Prepares what the resources of a slice are made from: its VMs and links with the numbers that they were given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconciler.plan.allocation.sizes import VmSize
from reconciler.plan.graph import Topology, ends
from reconciler.plan.resources import ROOT
from reconciler.plan.snapshot import ResourceState, SliceAllocation, VmAllocation
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, HostName, LinkKey, VlanId, VmId, VmName
from reconciler.spec.models.slice import Link

SEED_DIGITS = 20
"""How much of a digest a seed carries: 80 bits, and as many characters as a virtio disk's serial number holds."""


def mac_address(vm: VmId, nic: int) -> str:
    """Form a NIC's MAC: QEMU's locally administered 52:54, the VM's id in three bytes, the NIC's number in one."""
    return f"52:54:{vm >> 16:02x}:{vm >> 8 & 255:02x}:{vm & 255:02x}:{nic:02x}"


def tap_name(vm: VmId, nic: int) -> str:
    """Form a TAP's name: at most 15 characters, which is the kernel's limit."""
    return f"tap{vm}-{nic}"


@dataclass(slots=True)
class NicDesign:
    """One NIC: its numbers, its link, and its address on the internet VLAN. `label` is `owner/slice/vm:eth1`."""

    number: int
    label: str
    tap: str
    mac: str
    link_key: LinkKey | None
    link: Link | None
    vlan: VlanId | None
    ip: str | None


@dataclass(slots=True)
class VmDesign:
    """One VM with what was given to it.

    `label` is `owner/slice/vm`. `user_data` is the short digest of its user-data. `default_route` is the number of the
    NIC that the guest's default route goes through.
    """

    name: VmName
    label: str
    host: HostName
    given: VmAllocation
    size: VmSize
    directory: str
    user_data: str | None
    nics: tuple[NicDesign, ...]
    default_route: int | None

    @property
    def disk_path(self) -> str:
        """The path of its overlay on its host."""
        return f"{self.directory}/{self.given.file or self.name}_img.qcow2"

    @property
    def seed_path(self) -> str:
        """The path of its seed on its host."""
        return f"{self.directory}/seed.iso"


class SliceDesign:
    """One slice with all that was given to it.

    `routed` are its links with a gateway or DHCP. `trunks` are the VLANs that cross the trunk of each host.
    """

    def __init__(self, cluster: Cluster, topology: Topology, given: SliceAllocation) -> None:
        self.cluster = cluster
        self.topology = topology
        self.key = topology.key
        self.given = given
        self.node = HostName(cluster.network_node.name)
        self.namespace = f"slice-{given.id}"
        self.links: Mapping[LinkKey, Link] = topology.settled
        self.routed = {key: link for key, link in topology.settled.items() if link.gateway or link.dhcp}
        self.trunks = self._vlans_by_host()
        link_of = {end: key for key in topology.settled for end in ends(key)}
        self.vms = tuple([self._vm(name, vm, link_of) for name, vm in given.vms.items()])
        self._by_name = {vm.name: vm for vm in self.vms}

    def ends(self, key: LinkKey) -> Iterable[tuple[VmDesign, NicDesign]]:
        """Return the two ends of a link."""
        return ((vm := self._by_name[name], vm.nics[number]) for name, number in ends(key))

    def _vlans_by_host(self) -> dict[HostName, list[VlanId]]:
        """Find the VLANs that must cross each host's trunk: those of links that are on more than one host."""
        found: dict[HostName, list[VlanId]] = {}
        for key, link in self.given.links.items():
            hosts = {self.given.vms[vm].worker for vm, _ in ends(key)}
            if key in self.routed:
                hosts.add(self.node)
            if len(hosts) > 1:
                for host in hosts:
                    found.setdefault(host, []).append(link.vlan)
        return found

    def _vm(self, name: VmName, given: VmAllocation, link_of: Mapping[tuple[VmName, int], LinkKey]) -> VmDesign:
        label = f"{self.key}/{name}"
        nics = tuple([self._nic(label, given, number, link_of.get((name, number))) for number in range(given.nics)])
        user_data = self.topology.vms[name].cloud_init
        return VmDesign(
            name=name,
            label=label,
            host=given.worker,
            given=given,
            size=self.topology.sizes[name],
            directory=f"{ROOT}/vms/{given.id}",
            user_data=None if user_data is None else user_data.digest(self.given.salt(self.key))[:SEED_DIGITS],
            nics=nics,
            default_route=_default_route(given, nics),
        )

    def _nic(self, label: str, given: VmAllocation, number: int, key: LinkKey | None) -> NicDesign:
        return NicDesign(
            number=number,
            label=f"{label}:eth{number}",
            tap=tap_name(given.id, number),
            mac=mac_address(given.id, number),
            link_key=key,
            link=None if key is None else self.links[key],
            vlan=None if key is None else self.given.links[key].vlan,
            ip=given.internet if number == 0 else None,
        )


class SharedDesign:
    """What slices in scope need of what slices share: their VMs, and the workers that the internet VLAN reaches."""

    def __init__(
        self,
        cluster: Cluster,
        allocations: Iterable[SliceAllocation],
        known: Mapping[Address, ResourceState],
    ) -> None:
        self.cluster = cluster
        self.known = known
        self.node = HostName(cluster.network_node.name)
        self.vms = [vm for given in allocations for vm in given.vms.values()]
        self.connected = sorted({vm.worker for vm in self.vms if vm.internet is not None})


def _default_route(given: VmAllocation, nics: Iterable[NicDesign]) -> int | None:
    """Return the NIC of a VM's default route: eth0 on the internet, else the first whose DHCP announces a gateway."""
    if given.internet is not None:
        return 0
    return next((nic.number for nic in nics if nic.link is not None and nic.link.gateway and nic.link.dhcp), None)
