"""What should stand: from a slice and its numbers to resources, and from all slices' needs to what they share."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Network
from itertools import islice

from reconciler.plan.allocation.sizes import image_stem
from reconciler.plan.graph import Topology, ends
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
from reconciler.plan.snapshot import SliceAllocation, StateSnapshot, VmAllocation, shared_claims
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, HostName, LinkKey, SliceKey, VlanId, VmId, VmName
from reconciler.spec.models.slice import Link

SEED_DIGITS = 20
"""How much of a digest a seed carries: 80 bits, and as many characters as a virtio disk's serial number holds."""

GATEWAY_MAC = "52:54:00:00:00:01"
"""The internet gateway's station; VM ids count from 1001, so no VM has it."""


@lru_cache(maxsize=2**12)  # each is asked for twice: for the port, and for the lease
def mac_address(vm: VmId, nic: int) -> str:
    """Form a NIC's MAC: QEMU's locally administered 52:54, the VM's id in three bytes, the NIC's number in one."""
    return f"52:54:{vm >> 16:02x}:{vm >> 8 & 255:02x}:{vm & 255:02x}:{nic:02x}"


def tap_name(vm: VmId, nic: int) -> str:
    """Form a TAP's name: at most 15 characters, which is all that the kernel takes."""
    return f"tap{vm}-{nic}"


def slice_resources(cluster: Cluster, topology: Topology, given: SliceAllocation) -> Iterator[Resource]:
    """Yield every resource of one slice."""
    return _SliceBuilder(cluster, topology, given).resources()


def shared_resources(
    cluster: Cluster,
    allocations: Mapping[SliceKey, SliceAllocation],
) -> Iterator[Resource]:
    """Yield what these slices need of what slices share: images, and the internet VLAN with its uplink."""
    vms = [vm for given in allocations.values() for vm in given.vms.values()]
    current = {image_stem(cluster, name): image for name, image in cluster.images.items()}
    for worker, stem in sorted({(vm.worker, vm.image) for vm in vms}):
        where = _image_address(stem, worker)
        yield Image(address=where, slice=None, host=worker, path=_image_path(stem), sha256=current[stem].sha256)
    connected = sorted({vm.worker for vm in vms if vm.internet is not None})
    if connected:
        yield _uplink(cluster)
        gateway = HostName(cluster.network_node.name)
        yield _internet_trunk(cluster, gateway, None)
        for worker in connected:
            yield _internet_trunk(cluster, worker, GATEWAY_MAC)


def shared_by_others(cluster: Cluster, recorded: StateSnapshot, scope: Collection[SliceKey]) -> set[Address]:
    """Return what slices out of scope share, by the VMs they have and those they may still have on a host."""
    vms = [vm for key, had in recorded.allocations.items() if key not in scope for vm in had.vms.values()]
    found = {claim for vm in vms for claim in shared_claims(vm)}
    found.update(*(held for key, held in recorded.held.items() if key not in scope))
    images = {address(Image, claim.scope) for claim in found if claim.kind == "image"}
    connected = {_internet_trunk_address(HostName(claim.scope)) for claim in found if claim.kind == "uplink"}
    if not connected:
        return images
    gateway = _internet_trunk_address(HostName(cluster.network_node.name))
    return images | connected | {gateway, _uplink_address(cluster)}


class _SliceBuilder:
    """Builds one slice's resources; what several of them share is formed once."""

    def __init__(self, cluster: Cluster, topology: Topology, given: SliceAllocation) -> None:
        self.cluster = cluster
        self.topology = topology
        self.key = topology.key
        self.given = given
        self.node = HostName(cluster.network_node.name)
        self.namespace = f"slice-{given.id}"
        self.router = address(Router, self.key)
        self.links: dict[tuple[VmName, int], tuple[LinkKey, Link]] = {
            end: (key, link) for key, link in topology.links() for end in ends(key)
        }
        self.routes = {vm: self._routes_through(vm) for vm in given.vms}
        self.segments = {key: address(Segment, f"{self.key}/{key}") for key, link in topology.links() if _routed(link)}
        self.trunks = self._vlans_by_host()
        self.trunk_addresses = {host: address(Trunk, f"{self.key}@{host}") for host in self.trunks}

    def resources(self) -> Iterator[Resource]:
        """Yield the slice's resources, what others stand on first."""
        if self.segments:
            yield Router(address=self.router, slice=self.key, host=self.node, namespace=self.namespace)
        yield from self._trunks()
        for key, link in self.topology.links():
            if key in self.segments:
                yield self._segment(key, link)
        for name, vm in self.given.vms.items():
            yield from self._vm(name, vm)

    def _vlans_by_host(self) -> dict[HostName, list[VlanId]]:
        """Find the VLANs that must cross each host's trunk: those that stand on more than one host."""
        found: dict[HostName, list[VlanId]] = {}
        for key, link in self.given.links.items():
            hosts = {self.given.vms[vm].worker for vm, _ in ends(key)}
            if key in self.segments:
                hosts.add(self.node)
            if len(hosts) > 1:
                for host in hosts:
                    found.setdefault(host, []).append(link.vlan)
        return found

    def _trunks(self) -> Iterator[Trunk]:
        for host in sorted(self.trunks):
            yield Trunk(
                address=self.trunk_addresses[host],
                slice=self.key,
                host=host,
                bridge=self.cluster.bridge.name,
                port=self.cluster.bridge.trunk,
                vlans=tuple(sorted(self.trunks[host])),
                gateway_mac=None,
            )

    def _segment(self, key: LinkKey, link: Link) -> Segment:
        given = self.given.links[key]
        gateway, *others = _first_hosts(given.subnet)
        return Segment(
            address=self.segments[key],
            slice=self.key,
            host=self.node,
            needs=(self.router,),
            after=self._trunk_of(self.node),
            bridge=self.cluster.bridge.name,
            namespace=self.namespace,
            interface=f"seg{given.vlan}",
            vlan=given.vlan,
            ip=gateway,
            gateway=link.gateway,
            dhcp=link.dhcp,
            mtu=link.mtu,
            leases=tuple(self._lease(end, ip) for end, ip in zip(ends(key), others, strict=True)) if link.dhcp else (),
        )

    def _lease(self, end: tuple[VmName, int], ip: str) -> Lease:
        vm, nic = end
        return Lease(
            mac=mac_address(self.given.vms[vm].id, nic),
            ip=ip,
            hostname=vm,
            default_route=self.routes[vm] == nic,
        )

    def _routes_through(self, vm: VmName) -> int | None:
        """Return the NIC of a VM's default route: eth0 on the internet, else the first whose DHCP can tell it."""
        if self.given.vms[vm].internet is not None:
            return 0
        graph_links = (self.links.get((vm, nic)) for nic in range(self.given.vms[vm].nics))
        return next(
            (nic for nic, found in enumerate(graph_links) if found and found[1].gateway and found[1].dhcp), None
        )

    def _vm(self, name: VmName, given: VmAllocation) -> Iterator[Resource]:
        label = f"{self.key}/{name}"
        directory = f"{ROOT}/vms/{given.id}"
        disk = Disk(
            address=address(Disk, label),
            slice=self.key,
            host=given.worker,
            needs=(_image_address(given.image, given.worker),),
            path=f"{directory}/{name}_img.qcow2",
            backing=_image_path(given.image),
            size=self.topology.sizes[name].disk,
        )
        ports = [self._port(name, given, nic) for nic in range(given.nics)]
        seeds = [*self._seed(label, name, given, directory)]
        yield disk
        yield from seeds
        yield from ports
        standing = [self.segments[key] for key in self._links_of(name, given) if key in self.segments]
        if given.internet is not None:
            reservation = self._reservation(label, name, given)
            standing.append(reservation.address)
            yield reservation
        yield Vm(
            address=address(Vm, label),
            slice=self.key,
            host=given.worker,
            needs=(disk.address, *(seed.address for seed in seeds), *(port.address for port in ports)),
            after=(*disk.needs, *standing, *self._trunk_of(given.worker)),
            vm_id=given.id,
            directory=directory,
            disk=disk.path,
            vcpus=given.vcpus,
            memory=given.memory,
            nics=tuple(Nic(port.tap, port.mac) for port in ports),
            vnc=given.vnc,
            accelerator=self.cluster.accelerator,
            cloud_init=next((seed.cloud_init for seed in seeds), None),
        )

    def _seed(self, label: str, name: VmName, given: VmAllocation, directory: str) -> Iterator[Seed]:
        """Yield a VM's seed, where it has user-data."""
        user_data = self.topology.vms[name].cloud_init
        if user_data is not None:
            yield Seed(
                address=address(Seed, label),
                slice=self.key,
                host=given.worker,
                path=f"{directory}/seed.iso",
                vm_id=given.id,
                hostname=name,
                cloud_init=user_data.digest(self.key)[:SEED_DIGITS],
            )

    def _links_of(self, name: VmName, given: VmAllocation) -> Iterator[LinkKey]:
        for nic in range(given.nics):
            if found := self.links.get((name, nic)):
                yield found[0]

    def _trunk_of(self, host: HostName) -> tuple[Address, ...]:
        return (self.trunk_addresses[host],) if host in self.trunks else ()

    def _port(self, name: VmName, given: VmAllocation, nic: int) -> Port:
        found = self.links.get((name, nic))
        internet = nic == 0 and given.internet is not None
        if internet:
            vlan: VlanId | None = VlanId(self.cluster.internet.vlan)
        else:
            vlan = self.given.links[found[0]].vlan if found else None
        return Port(
            address=address(Port, f"{self.key}/{name}:eth{nic}"),
            slice=self.key,
            host=given.worker,
            after=(_internet_trunk_address(given.worker),) if internet else (),
            bridge=self.cluster.bridge.name,
            tap=tap_name(given.id, nic),
            mac=mac_address(given.id, nic),
            mtu=found[1].mtu if found else 1500,
            vlan=vlan,
            gateway_mac=GATEWAY_MAC if internet else None,
            ip=given.internet if internet else None,
        )

    def _reservation(self, label: str, name: VmName, given: VmAllocation) -> Reservation:
        assert given.internet is not None, "only VMs on the internet VLAN have a reservation"  # noqa: S101
        return Reservation(
            address=address(Reservation, f"{label}:eth0"),
            slice=self.key,
            host=self.node,
            needs=(_uplink_address(self.cluster),),
            mac=mac_address(given.id, 0),
            ip=given.internet,
            hostname=name,
        )


@lru_cache(maxsize=2**12)  # slices have routers of their own, and so subnets in common
def _first_hosts(subnet: str) -> tuple[str, str, str]:
    """Return the router's address with its prefix length, and those of the link's two ends without."""
    network = IPv4Network(subnet)
    gateway, one, other = (str(host) for host in islice(network.hosts(), 3))
    return f"{gateway}/{network.prefixlen}", one, other


def _routed(link: Link) -> bool:
    return link.gateway or link.dhcp


def _image_path(stem: str) -> str:
    return f"{ROOT}/images/{stem}.qcow2"


def _image_address(stem: str, worker: HostName) -> Address:
    return address(Image, f"{stem}@{worker}")


def _uplink_address(cluster: Cluster) -> Address:
    return address(Uplink, cluster.network_node.name)


def _uplink(cluster: Cluster) -> Uplink:
    internet = cluster.internet
    return Uplink(
        address=_uplink_address(cluster),
        slice=None,
        host=HostName(cluster.network_node.name),
        after=(_internet_trunk_address(HostName(cluster.network_node.name)),),
        bridge=cluster.bridge.name,
        interface=f"inet{internet.vlan}",
        vlan=VlanId(internet.vlan),
        ip=f"{internet.gateway}/{internet.subnet.prefixlen}",
        mac=GATEWAY_MAC,
        uplink=cluster.network_node.uplink,
        dns=tuple(str(server) for server in internet.dns),
    )


def _internet_trunk_address(host: HostName) -> Address:
    return address(Trunk, f"internet@{host}")


def _internet_trunk(cluster: Cluster, host: HostName, gateway_mac: str | None) -> Trunk:
    return Trunk(
        address=_internet_trunk_address(host),
        slice=None,
        host=host,
        bridge=cluster.bridge.name,
        port=cluster.bridge.trunk,
        vlans=(VlanId(cluster.internet.vlan),),
        gateway_mac=gateway_mac,
    )
