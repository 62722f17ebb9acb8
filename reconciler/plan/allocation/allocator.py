"""Allocates ids, VLAN pools, workers, subnets, VNC ports and internet addresses, and keeps those of the state.

A number that the state claims is not given again before its resource is confirmed deleted. Ids are never given again.
Slices, VMs and links are served in natural order of their names, so the order of files and keys makes no difference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from ipaddress import IPv4Address
from types import MappingProxyType

from reconciler.errors import Limit, LimitError
from reconciler.plan.allocation.placement import Placement, amount_of, closed_hosts
from reconciler.plan.allocation.pools import Subnets, VlanBlocks, vlans_of
from reconciler.plan.allocation.sizes import VmSize, image_name
from reconciler.plan.graph import Topology, natural
from reconciler.plan.resources import KINDS, GraphRole, address
from reconciler.plan.snapshot import (
    FIRST_VM_ID,
    Block,
    Claim,
    Counters,
    LinkAllocation,
    SliceAllocation,
    StateSnapshot,
    Status,
    VmAllocation,
    claims,
)
from reconciler.spec.expand import ExpandedVm
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, HostName, LinkId, LinkKey, SliceId, SliceKey, VlanId, VmId, VmName

FIRST_VNC = 5901
"""VNC display 1, the first VM of a worker."""

LAST_VNC = 65535

NO_HOSTS: Mapping[HostName, HostName | None] = MappingProxyType({})

LAST_VM_ID = 2**24 - 1
"""A MAC address has three bytes for the VM's id."""


def allocate(
    cluster: Cluster,
    topologies: Sequence[Topology],
    state: StateSnapshot,
    destroy: Collection[SliceKey] = (),
    replace: Collection[Address] = (),
    evacuate: Mapping[HostName, HostName | None] = NO_HOSTS,
) -> tuple[dict[SliceKey, SliceAllocation], Counters]:
    """Return the allocation of every slice of the cluster, and the counters after that.

    Slices that are neither given nor destroyed keep theirs. A VM keeps the image that its disk is an overlay of when
    the file of that image is renewed, unless its disk is in `replace`. VMs leave the workers in `evacuate`: for the one
    that is given with it, or else for any with room. A VM whose VNC port another program occupies gets another one.
    Raises LimitError if a pool, the VLAN range or the capacity of the workers is exhausted.
    """
    given = {topology.key: topology for topology in topologies}
    after = {key: had for key, had in state.allocations.items() if key not in given and key not in destroy}
    if not given:
        return after, state.counters
    allocator = _Allocator(cluster, state, after.values(), frozenset(replace), evacuate)
    order = sorted(given, key=natural)
    known = [(given[key], state.allocations[key]) for key in order if key in state.allocations]
    for topology, had in known:
        allocator.keep(topology, had)
    for topology, had in known:
        allocator.grow(topology, had)
    for key in order:
        after[key] = allocator.serve(given[key], state.allocations.get(key))
    return after, allocator.counters


class _Allocator:
    """Allocates for one slice after the other, and keeps track of what is taken."""

    def __init__(
        self,
        cluster: Cluster,
        state: StateSnapshot,
        others: Iterable[SliceAllocation],
        replaced: frozenset[Address],
        evacuate: Mapping[HostName, HostName | None],
    ) -> None:
        self._cluster = cluster
        self._evacuate = evacuate
        self._resources = state.resources
        self._replaced = replaced
        self._slice_id = state.counters.slice_id
        self._vm_id = state.counters.vm_id
        self._link_id = state.counters.link_id
        self._taken = {claim for key, had in state.allocations.items() for claim in claims(key, had)}
        self._held = state.held
        self._taken.update(*state.held.values())
        self._blocks = VlanBlocks(cluster, state)
        self._placement = Placement(cluster, others, state.counters.turn, closed_hosts(state))
        self._closed = closed_hosts(state).keys()
        self._occupied = {Claim("vnc", host, str(port)) for host, ports in state.occupied.items() for port in ports}
        self._next_vnc: dict[HostName, int] = {}
        self._addresses = self._free_addresses()

    @property
    def counters(self) -> Counters:
        return Counters(self._slice_id, self._vm_id, self._link_id, self._placement.turn)

    def keep(self, topology: Topology, had: SliceAllocation) -> None:
        """Count the VMs that stay on their workers, before any VM grows or is placed."""
        for _, kept, size in self._staying(topology, had):
            self._placement.add(topology.key, kept.worker, amount_of(kept, size.disk).least(amount_of(size)))

    def grow(self, topology: Topology, had: SliceAllocation) -> None:
        """Count the growth of these VMs; raises LimitError if their workers have no room for it."""
        for name, kept, size in self._staying(topology, had):
            more = amount_of(size).beyond(amount_of(kept, size.disk))
            self._placement.grow(f"{topology.key}/{name}", kept.worker, more)

    def _staying(self, topology: Topology, had: SliceAllocation) -> Iterator[tuple[VmName, VmAllocation, VmSize]]:
        for name, vm in topology.vms.items():
            kept = had.vms.get(name)
            if kept and self._stays(f"{topology.key}/{name}", vm, kept):
                yield name, kept, topology.sizes[name]

    def serve(self, topology: Topology, had: SliceAllocation | None) -> SliceAllocation:
        """Allocate all numbers of one slice."""
        slice_id = had.id if had else self._next_slice_id()
        vms = {
            name: self._vm(f"{topology.key}/{name}", topology, name, had.vms.get(name) if had else None)
            for name in topology.vms
        }
        pool = self._pool(topology, slice_id, had)
        links = self._links(topology, pool, had.links if had else {})
        return SliceAllocation(slice_id, pool, vms, links, had.formerly if had else ())

    def _vm(self, label: str, topology: Topology, name: VmName, had: VmAllocation | None) -> VmAllocation:
        vm, size = topology.vms[name], topology.sizes[name]
        vm_id = had.id if had else self._next_vm_id()
        image = size.image
        if had and self._stays(label, vm, had):
            worker = had.worker
            vnc = self._vnc(worker, None) if Claim("vnc", worker, str(had.vnc)) in self._occupied else had.vnc
        else:
            pinned = vm.worker or (self._evacuate.get(had.worker) if had else None)
            worker = self._placement.place(topology.key, name, pinned, amount_of(size))
            vnc = self._vnc(worker, had.vnc if had else None)
        if had and had.image != image and self._keeps_image(label, had, image):
            image = had.image
        address = self._address(label, had) if vm.internet else None
        nics = topology.nics[name]
        file = had.file if had else ""
        return VmAllocation(vm_id, worker, vnc, image, size.vcpus, size.memory, nics, address, size.disk, file)

    def _keeps_image(self, label: str, had: VmAllocation, image: str) -> bool:
        """Whether an image is only renewed under the same name, and the VM has a disk on the earlier one."""
        if image_name(had.image) != image_name(image) or label not in self._with_disks:
            return False
        bases = [noun for noun in KINDS.values() if noun.graph_role is GraphRole.BASE]
        earlier = (self._resources.get(address(noun, f"{had.image}@{had.worker}")) for noun in bases)
        return any(one is not None and one.status is Status.PRESENT and not one.gone for one in earlier)

    @cached_property
    def _with_disks(self) -> frozenset[str]:
        """The VMs that may have a disk which is not replaced, as `owner/slice/vm`."""
        return frozenset(
            where.partition("/")[2]
            for where, entry in self._resources.items()
            if entry.resource.holds_data and where not in self._replaced
        )

    def _stays(self, label: str, vm: ExpandedVm, had: VmAllocation) -> bool:
        """Whether a VM stays on its worker; one of which nothing exists leaves a worker that takes no new VMs."""
        if vm.worker not in {None, had.worker} or not self._placement.knows(had.worker):
            return False
        if had.worker in self._evacuate:
            return vm.worker is not None
        return vm.worker is not None or had.worker not in self._closed or (label, had.worker) in self._begun

    @cached_property
    def _begun(self) -> frozenset[tuple[str, HostName]]:
        """Everything of which the state says that it may exist, as `owner/slice/vm` with its host."""
        return frozenset((where.partition("/")[2], entry.resource.host) for where, entry in self._resources.items())

    def _pool(self, topology: Topology, slice_id: SliceId, had: SliceAllocation | None) -> tuple[Block, ...]:
        """Add free blocks to a pool until it has the requested size, or remove trailing blocks that no link uses."""
        size = self._cluster.vlans.per_slice
        asked = topology.slice.vlans or size
        pool = list(had.pool) if had else []
        used = {link.vlan for link in had.links.values()} if had else set()
        while _count(pool[:-1]) >= asked and not any(pool[-1].first <= vlan <= pool[-1].last for vlan in used):
            pool.pop()
        while (missing := asked - _count(pool)) > 0:
            pool.append(self._blocks.give(slice_id, topology.key, min(size, missing), asked))
        return tuple(pool)

    def _links(
        self, topology: Topology, pool: Sequence[Block], had: Mapping[LinkKey, LinkAllocation]
    ) -> dict[LinkKey, LinkAllocation]:
        links = topology.settled
        vlans = self._free_vlans(topology, pool, sum(key not in had for key in links))
        subnets = Subnets(self._cluster, [link.subnet for link in links.values() if link.subnet])
        kept = {key for key, link in links.items() if key in had and not link.subnet and subnets.keep(had[key].subnet)}
        for subnet in self._leaving_subnets(topology.key, had, kept):
            subnets.avoid(subnet)
        given: dict[LinkKey, LinkAllocation] = {}
        for key, link in links.items():
            before = had.get(key)
            vlan = before.vlan if before else next(vlans)
            link_id = before.id if before else self._next_link_id()
            if link.subnet is not None:
                subnet = str(link.subnet)
            else:
                subnet = had[key].subnet if key in kept else subnets.give(vlan)
            given[key] = LinkAllocation(link_id, vlan, subnet, before is not None and before.swapped)
        return given

    def _leaving_subnets(
        self, key: SliceKey, had: Mapping[LinkKey, LinkAllocation], kept: Collection[LinkKey]
    ) -> Iterator[str]:
        """Yield the subnets of this slice that no link keeps, but whose segments are not confirmed deleted."""
        yield from sorted({link.subnet for name, link in had.items() if name not in kept})
        yield from sorted(claim.value for claim in self._held.get(key, ()) if claim.kind == "subnet")

    def _free_vlans(self, topology: Topology, pool: Sequence[Block], asked: int) -> Iterator[VlanId]:
        limit = topology.slice.vlans or self._cluster.vlans.per_slice
        free = [vlan for vlan in vlans_of(pool, limit) if Claim("vlan", "", str(vlan)) not in self._taken]
        if asked > len(free):
            used = limit - len(free)
            hint = f"write `vlans: {used + asked}` in the slice file, or remove links"
            raise LimitError(
                Limit.VLAN_POOL, f"VLAN pool of {topology.key}", maximum=limit, used=used, asked=asked, hint=hint
            )
        return iter(free)

    def _next_slice_id(self) -> SliceId:
        given = self._slice_id
        self._slice_id = SliceId(given + 1)
        return given

    def _next_vm_id(self) -> VmId:
        given = self._vm_id
        if given > LAST_VM_ID:
            count = LAST_VM_ID - FIRST_VM_ID + 1
            raise LimitError(Limit.VM_IDS, "VM ids", maximum=count, used=count, asked=1)
        self._vm_id = VmId(given + 1)
        return given

    def _next_link_id(self) -> LinkId:
        given = self._link_id
        self._link_id = LinkId(given + 1)
        return given

    def _vnc(self, worker: HostName, had: int | None) -> int:
        """Return a free VNC port of a worker; a VM that moves keeps its own where that is free."""
        port = self._next_vnc.get(worker, FIRST_VNC)
        if had is not None and had >= port and self._is_free(claim := Claim("vnc", worker, str(had))):
            self._taken.add(claim)
            return had
        while not self._is_free(Claim("vnc", worker, str(port))):
            port += 1
        if port > LAST_VNC:
            raise LimitError(
                Limit.VNC_PORTS,
                f"VNC ports of {worker}",
                maximum=LAST_VNC - FIRST_VNC + 1,
                used=port - FIRST_VNC,
                asked=1,
            )
        self._next_vnc[worker] = port + 1
        return port

    def _is_free(self, port: Claim) -> bool:
        return port not in self._taken and port not in self._occupied

    def _address(self, label: str, had: VmAllocation | None) -> str:
        subnet, gateway = self._cluster.internet.subnet, self._cluster.internet.gateway
        if had and had.internet is not None and gateway != IPv4Address(had.internet) in subnet:
            return had.internet
        found = next(self._addresses, None)
        if found is None:
            size = subnet.num_addresses - 3
            raise LimitError(
                Limit.INTERNET_ADDRESSES,
                f"addresses of {subnet} on the internet VLAN for {label}",
                maximum=size,
                used=size,
                asked=1,
            )
        return found

    def _free_addresses(self) -> Iterator[str]:
        internet = self._cluster.internet
        for host in internet.subnet.hosts():
            if host != internet.gateway and Claim("internet", "", str(host)) not in self._taken:
                yield str(host)


def _count(pool: Sequence[Block]) -> int:
    return sum(block.last - block.first + 1 for block in pool)
