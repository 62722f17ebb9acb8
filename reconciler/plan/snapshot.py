"""Defines a snapshot of the state as planning reads it: the numbers that were given out, and the resources."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from reconciler.plan.immutable import immutable
from reconciler.plan.resources import Resource
from reconciler.spec.models.names import (
    Address,
    Bytes,
    HostName,
    LinkId,
    LinkKey,
    SliceId,
    SliceKey,
    VlanId,
    VmId,
    VmName,
)

FIRST_SLICE_ID, FIRST_VM_ID, FIRST_LINK_ID = SliceId(1000), VmId(1001), LinkId(1)
"""The first ids, as in the imperative system: users know these numbers."""


SHARED = "@shared"
"""The name of the lock of shared resources. The lock of a slice has its key."""


def lock_label(name: str) -> str:
    """Format the name of a lock."""
    return "what slices share" if name == SHARED else name


class Status(StrEnum):
    """What the state knows of a resource."""

    CREATING = "creating"
    PRESENT = "present"
    DELETING = "deleting"
    UNKNOWN = "unknown"


class Block(NamedTuple):
    """A range of VLANs in a slice's pool, both ends included."""

    first: VlanId
    last: VlanId

    def __str__(self) -> str:
        """Write it as the cluster file writes ranges."""
        return f"{self.first}-{self.last}"


@immutable
class VmAllocation:
    """The numbers of a VM, kept as long as it exists. `image` is the base's file name on its worker, without suffix.

    `vnc` is a TCP port of the worker's loopback. `nics` counts its NICs, eth0 included. `internet` is its address on
    the internet VLAN, or None. `disk` is the virtual size of its disk, 0 in allocations of earlier versions. `file` is
    the name that its disk's file was made from, if the VM was renamed since.
    """

    id: VmId
    worker: HostName
    vnc: int
    image: str
    vcpus: int
    memory: Bytes
    nics: int
    internet: str | None = None
    disk: Bytes = Bytes(0)
    file: str = ""


@immutable
class LinkAllocation:
    """The numbers of a link, kept as long as it exists. `subnet` is an IPv4 network such as `192.168.100.0/24`.

    `swapped` says that its second end has the first address, because a rename has changed the order of the ends.
    """

    id: LinkId
    vlan: VlanId
    subnet: str
    swapped: bool = False


@immutable
class SliceAllocation:
    """The numbers of a slice, kept as long as it exists.

    `formerly` are the keys that it had before renames, the first one first.
    """

    id: SliceId
    pool: tuple[Block, ...]
    vms: Mapping[VmName, VmAllocation] = field(default_factory=dict)
    links: Mapping[LinkKey, LinkAllocation] = field(default_factory=dict)
    formerly: tuple[SliceKey, ...] = ()

    def salt(self, key: SliceKey) -> SliceKey:
        """Return what digests of its user-data are made with: its first key, so that a rename changes no digest."""
        return self.formerly[0] if self.formerly else key


_OF_RENAMES = frozenset({"file", "formerly", "swapped"})
"""What only allocations of renamed slices have: others are written as by versions that knew no renames."""


def allocation_data(allocation: SliceAllocation) -> dict[str, Any]:
    """Write a slice's allocation as plain data that `allocation_from_data` reads back."""
    data = asdict(allocation)
    for part in (data, *data["vms"].values(), *data["links"].values()):
        for name in _OF_RENAMES & part.keys():
            if not part[name]:
                del part[name]
    return data


def allocation_from_data(data: Mapping[str, Any]) -> SliceAllocation:
    """Read an allocation back; raises KeyError, ValueError, TypeError or AttributeError for any other data."""
    return SliceAllocation(
        id=data["id"],
        pool=tuple(Block(first, last) for first, last in data["pool"]),
        vms={name: VmAllocation(**vm) for name, vm in data["vms"].items()},
        links={key: LinkAllocation(**link) for key, link in data["links"].items()},
        formerly=tuple(data.get("formerly", ())),
    )


@dataclass(frozen=True, slots=True)
class Counters:
    """The next id of each sort, and the worker whose turn is next (an index that only grows)."""

    slice_id: SliceId = FIRST_SLICE_ID
    vm_id: VmId = FIRST_VM_ID
    link_id: LinkId = FIRST_LINK_ID
    turn: int = 0


class Claim(NamedTuple):
    """One number that must be unique in its scope: a VLAN in the cluster, a VNC port on a worker, and so on."""

    kind: str
    scope: str
    value: str


def claims(key: SliceKey, allocation: SliceAllocation) -> Iterator[Claim]:
    """Yield all numbers that a slice's allocation takes. Two allocations conflict if they claim the same number."""
    yield Claim("slice-id", "", str(allocation.id))
    for block in allocation.pool:
        yield Claim("vlan-block", "", str(block.first))
    for vm in allocation.vms.values():
        yield Claim("vm-id", "", str(vm.id))
        yield Claim("vnc", vm.worker, str(vm.vnc))
        yield from shared_claims(vm)
        if vm.internet is not None:
            yield Claim("internet", "", vm.internet)
    for link in allocation.links.values():
        yield Claim("link-id", "", str(link.id))
        yield Claim("vlan", "", str(link.vlan))
        yield Claim("subnet", key, link.subnet)


@dataclass(frozen=True, slots=True)
class ResourceDrift:
    """A resource that was probed and differs from the state: it is gone, or has other values (plain data, by name)."""

    gone: bool
    values: Mapping[str, Any] = field(default_factory=dict)


def shared_claims(vm: VmAllocation) -> Iterator[Claim]:
    """Yield the shared resources that a VM depends on: its image, and its worker's part of the internet VLAN.

    While such a claim is held, the apply of another slice does not remove an image that an overlay may still need.
    """
    yield Claim("image", f"{vm.image}@{vm.worker}", str(vm.id))
    if vm.internet is not None:
        yield Claim("uplink", vm.worker, str(vm.id))


@immutable
class ResourceState:
    """A resource of the state.

    `pending` is what an unfinished step was about to change it to; of a move, the side that does not count: the copy
    until it is complete, and then what it was copied from. `drift` is set if a refresh found that the host
    differs from the state.
    """

    resource: Resource
    status: Status = Status.PRESENT
    pending: Resource | None = None
    drift: ResourceDrift | None = None

    @property
    def gone(self) -> bool:
        """Whether a refresh found that it is missing on its host."""
        return self.drift is not None and self.drift.gone

    @property
    def leftover(self) -> Resource | None:
        """What an unfinished move may have left on another host than that of the resource, which has the content."""
        return self.pending if self.pending is not None and self.pending.host != self.resource.host else None

    def within(self, hosts: Collection[str]) -> ResourceState:
        """Return it without what an unfinished move left on a host that is not among these."""
        gone = self.leftover is not None and self.leftover.host not in hosts
        return replace(self, pending=None) if gone else self

    def may_exist(self) -> Resource:
        """Return the most that may exist on the host of the resource, where a change of it is unfinished."""
        return self.resource if self.leftover else self.resource.merged(self.pending)


@dataclass(frozen=True, slots=True)
class Cordon:
    """Who decided that a host takes no new VMs, and when: ISO 8601, UTC."""

    user: str
    since: str

    def __str__(self) -> str:
        """Format it as the end of a clause about the host."""
        return f"is cordoned by {self.user} since {self.since[:16].replace('T', ' ')} UTC"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen on the hosts of a plan: drift, hosts that are down with the reason, and ports of other programs.

    New VMs are not placed on hosts that are `down`, and what slices share there stays as it is. VMs whose VNC port is
    in `occupied` get another one.
    """

    drifted: Mapping[Address, ResourceDrift] = field(default_factory=dict)
    down: Mapping[HostName, str] = field(default_factory=dict)
    occupied: Mapping[HostName, frozenset[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StateSnapshot:
    """The state as planning reads it.

    `allocations` and `held` cover every slice of the cluster. `resources` cover the slices in scope and what slices
    share. `held` are claims of resources whose deletion is not confirmed yet: they are taken, although no allocation
    has them. `cordoned` are hosts that take no new VMs. `down` are hosts that were just found unreachable, with the
    reason, and `occupied` the TCP ports of hosts that other programs occupy; no state keeps these two.
    """

    lineage: str
    serial: int = 0
    counters: Counters = Counters()
    allocations: Mapping[SliceKey, SliceAllocation] = field(default_factory=dict)
    held: Mapping[SliceKey, frozenset[Claim]] = field(default_factory=dict)
    resources: Mapping[Address, ResourceState] = field(default_factory=dict)
    cordoned: Mapping[HostName, Cordon] = field(default_factory=dict)
    down: Mapping[HostName, str] = field(default_factory=dict)
    occupied: Mapping[HostName, frozenset[int]] = field(default_factory=dict)

    def without(self, lost: Collection[Address]) -> StateSnapshot:
        """Return the snapshot without some resources."""
        if not lost:
            return self
        return replace(self, resources={where: entry for where, entry in self.resources.items() if where not in lost})

    def seen(self, seen: Seen) -> StateSnapshot:
        """Return the snapshot with what was seen on hosts."""
        found = {
            where: replace(entry, drift=seen.drifted[where]) if where in seen.drifted else entry
            for where, entry in self.resources.items()
        }
        return replace(self, resources=found, down=seen.down, occupied=seen.occupied)
