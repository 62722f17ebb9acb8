"""Gives out numbers: ids, VLAN pools, workers, subnets, VNC ports, internet addresses; what was recorded stays.

Pure: the record comes in, what was given goes out. A number that the record claims is never given again before the
thing that had it is confirmed gone; ids are never given again at all. Slices, VMs and links are served in natural
order of their names, so the order of files and keys makes no difference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address

from reconciler.errors import Limit, LimitError
from reconciler.plan.allocation.placement import Placement
from reconciler.plan.allocation.pools import Subnets, VlanBlocks, vlans_of
from reconciler.plan.allocation.sizes import VmSize
from reconciler.plan.graph import Topology, natural
from reconciler.plan.snapshot import (
    FIRST_VM_ID,
    Block,
    Claim,
    Counters,
    LinkAllocation,
    SliceAllocation,
    StateSnapshot,
    VmAllocation,
    claims,
)
from reconciler.spec.expand import ExpandedVm
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import HostName, LinkId, LinkKey, SliceId, SliceKey, VlanId, VmId, VmName

FIRST_VNC = 5901
"""VNC display 1: what the first VM of a worker has."""

LAST_VNC = 65535

LAST_VM_ID = 2**24 - 1
"""A MAC address has three bytes for the VM's id."""


def allocate(
    cluster: Cluster, topologies: Sequence[Topology], recorded: StateSnapshot, destroy: Collection[SliceKey] = ()
) -> tuple[dict[SliceKey, SliceAllocation], Counters]:
    """Return what every slice of the cluster will have, and the counters after that.

    Slices that are neither given nor destroyed keep what they have. Raises LimitError where a pool, the VLAN range or
    the workers' capacity is exhausted.
    """
    given = {topology.key: topology for topology in topologies}
    after = {key: had for key, had in recorded.allocations.items() if key not in given and key not in destroy}
    office = _Office(cluster, recorded, after.values())
    order = sorted(given, key=natural)
    standing = [(given[key], recorded.allocations[key]) for key in order if key in recorded.allocations]
    for topology, had in standing:
        office.keep(topology, had)
    for topology, had in standing:
        office.grow(topology, had)
    for key in order:
        after[key] = office.serve(given[key], recorded.allocations.get(key))
    return after, office.counters


class _Office:
    """Serves one slice after the other, and remembers what is taken."""

    def __init__(self, cluster: Cluster, recorded: StateSnapshot, others: Iterable[SliceAllocation]) -> None:
        self._cluster = cluster
        self._slice_id = recorded.counters.slice_id
        self._vm_id = recorded.counters.vm_id
        self._link_id = recorded.counters.link_id
        self._taken = {claim for key, had in recorded.allocations.items() for claim in claims(key, had)}
        self._held = recorded.held
        self._taken.update(*recorded.held.values())
        self._blocks = VlanBlocks(cluster, recorded)
        self._placement = Placement(cluster, others, recorded.counters.turn)
        self._next_vnc: dict[HostName, int] = {}
        self._addresses = self._free_addresses()

    @property
    def counters(self) -> Counters:
        return Counters(self._slice_id, self._vm_id, self._link_id, self._placement.turn)

    def keep(self, topology: Topology, had: SliceAllocation) -> None:
        """Count the VMs that stay where they are, before any grows or is placed."""
        for _, kept, size in self._staying(topology, had):
            self._placement.add(topology.key, kept.worker, min(kept.vcpus, size.vcpus), min(kept.memory, size.memory))

    def grow(self, topology: Topology, had: SliceAllocation) -> None:
        """Count what these VMs are to have more of; raises LimitError where their workers have no room for it."""
        for name, kept, size in self._staying(topology, had):
            more = max(size.vcpus - kept.vcpus, 0), max(size.memory - kept.memory, 0)
            self._placement.grow(f"{topology.key}/{name}", kept.worker, *more)

    def _staying(self, topology: Topology, had: SliceAllocation) -> Iterator[tuple[VmName, VmAllocation, VmSize]]:
        for name, vm in topology.vms.items():
            kept = had.vms.get(name)
            if kept and self._stays(vm, kept):
                yield name, kept, topology.sizes[name]

    def serve(self, topology: Topology, had: SliceAllocation | None) -> SliceAllocation:
        """Give one slice all that it needs."""
        slice_id = had.id if had else self._next_slice_id()
        vms = {
            name: self._vm(f"{topology.key}/{name}", topology, name, had.vms.get(name) if had else None)
            for name in topology.vms
        }
        pool = self._pool(topology, slice_id, had)
        return SliceAllocation(slice_id, pool, vms, self._links(topology, pool, had.links if had else {}))

    def _vm(self, label: str, topology: Topology, name: VmName, had: VmAllocation | None) -> VmAllocation:
        vm, size = topology.vms[name], topology.sizes[name]
        vm_id = had.id if had else self._next_vm_id()
        if had and self._stays(vm, had):
            worker, vnc = had.worker, had.vnc
        else:
            worker = self._placement.place(topology.key, name, vm.worker, size.vcpus, size.memory)
            vnc = self._vnc(worker)
        address = self._address(label, had) if vm.internet else None
        return VmAllocation(
            vm_id, worker, vnc, size.image, size.vcpus, size.memory, topology.nics[name], internet=address
        )

    def _stays(self, vm: ExpandedVm, had: VmAllocation) -> bool:
        return vm.worker in {None, had.worker} and self._placement.knows(had.worker)

    def _pool(self, topology: Topology, slice_id: SliceId, had: SliceAllocation | None) -> tuple[Block, ...]:
        """Grow a pool by free blocks to the size asked for, or shrink it by trailing blocks that no link uses."""
        size = self._cluster.vlans.per_slice
        asked = topology.slice.vlans or size
        pool = list(had.pool) if had else []
        used = {link.vlan for link in had.links.values()} if had else set()
        while (len(pool) - 1) * size >= asked and not any(pool[-1].first <= vlan <= pool[-1].last for vlan in used):
            pool.pop()
        while len(pool) * size < asked:
            pool.append(self._blocks.give(slice_id, topology.key, asked))
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
            given[key] = LinkAllocation(link_id, vlan, subnet)
        return given

    def _leaving_subnets(
        self, key: SliceKey, had: Mapping[LinkKey, LinkAllocation], kept: Collection[LinkKey]
    ) -> Iterator[str]:
        """Yield the subnets of this slice that no link keeps, but whose segments are not yet confirmed gone."""
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

    def _vnc(self, worker: HostName) -> int:
        port = self._next_vnc.get(worker, FIRST_VNC)
        while Claim("vnc", worker, str(port)) in self._taken:
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
