"""Defines a snapshot of the state as planning reads it: the numbers that were given out, and the resources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
"""Where the imperative system counted from; users know these numbers."""


SHARED = "@shared"
"""The lock of what slices share; slices' locks bear their keys."""


def lock_label(name: str) -> str:
    """Say what a lock is of."""
    return "what slices share" if name == SHARED else name


class Status(StrEnum):
    """How a recorded resource stands."""

    CREATING = "creating"
    PRESENT = "present"
    DELETING = "deleting"
    UNKNOWN = "unknown"


class Block(NamedTuple):
    """A run of VLANs in a slice's pool, both ends included."""

    first: VlanId
    last: VlanId

    def __str__(self) -> str:
        """Write it as the cluster file writes ranges."""
        return f"{self.first}-{self.last}"


@immutable
class VmAllocation:
    """What a VM was given; kept as long as it lives. `image` is the base's file name on its worker, without suffix.

    `vnc` is a TCP port of the worker's loopback; `nics` counts its network cards, eth0 included; `internet` is its
    address on the internet VLAN, or None.
    """

    id: VmId
    worker: HostName
    vnc: int
    image: str
    vcpus: int
    memory: Bytes
    nics: int
    internet: str | None = None


@immutable
class LinkAllocation:
    """What a link was given; kept as long as it lives. `subnet` is an IPv4 network such as `192.168.100.0/24`."""

    id: LinkId
    vlan: VlanId
    subnet: str


@immutable
class SliceAllocation:
    """What a slice was given; kept as long as it lives."""

    id: SliceId
    pool: tuple[Block, ...]
    vms: Mapping[VmName, VmAllocation] = field(default_factory=dict)
    links: Mapping[LinkKey, LinkAllocation] = field(default_factory=dict)


def allocation_data(allocation: SliceAllocation) -> dict[str, Any]:
    """Write a slice's allocation as plain data that `allocation_from_data` reads back."""
    return asdict(allocation)


def allocation_from_data(data: Mapping[str, Any]) -> SliceAllocation:
    """Read an allocation back; raises KeyError, ValueError, TypeError or AttributeError for data that is none."""
    return SliceAllocation(
        id=data["id"],
        pool=tuple(Block(first, last) for first, last in data["pool"]),
        vms={name: VmAllocation(**vm) for name, vm in data["vms"].items()},
        links={key: LinkAllocation(**link) for key, link in data["links"].items()},
    )


@dataclass(frozen=True, slots=True)
class Counters:
    """The next id of each sort, and the worker whose turn it is (an index that only grows)."""

    slice_id: SliceId = FIRST_SLICE_ID
    vm_id: VmId = FIRST_VM_ID
    link_id: LinkId = FIRST_LINK_ID
    turn: int = 0


class Claim(NamedTuple):
    """One number taken where it must be unique: a VLAN in the cluster, a VNC port on a worker, and so on."""

    kind: str
    scope: str
    value: str


def claims(key: SliceKey, allocation: SliceAllocation) -> Iterator[Claim]:
    """Yield all that a slice's allocation takes; two allocations are at odds where they claim the same."""
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
    """A resource that was looked at and is not as recorded: gone, or with other values (plain data, by name)."""

    gone: bool
    values: Mapping[str, Any] = field(default_factory=dict)


def shared_claims(vm: VmAllocation) -> Iterator[Claim]:
    """Yield what a VM stands on that slices share: its image, and its worker's part of the internet VLAN.

    Held, such a claim keeps another slice's apply from removing an image while an overlay of it may still be there.
    """
    yield Claim("image", f"{vm.image}@{vm.worker}", str(vm.id))
    if vm.internet is not None:
        yield Claim("uplink", vm.worker, str(vm.id))


@immutable
class ResourceState:
    """A resource as last recorded.

    `pending` is what an unfinished step was about to make of it; `sighting` is set where somebody looked, and it is not
    as recorded.
    """

    resource: Resource
    status: Status = Status.PRESENT
    pending: Resource | None = None
    drift: ResourceDrift | None = None

    def may_exist(self) -> Resource:
        """Return the most that may exist on the host, where a change of it is unfinished."""
        return self.resource.merged(self.pending)


@dataclass(frozen=True, slots=True)
class StateSnapshot:
    """The record as a planner reads it.

    `allocations` and `held` cover every slice of the cluster; `resources` cover the slices in scope and what slices
    share. `held` are claims of things that are to go but are not yet confirmed gone: taken, though no allocation has
    them.
    """

    lineage: str
    serial: int = 0
    counters: Counters = Counters()
    allocations: Mapping[SliceKey, SliceAllocation] = field(default_factory=dict)
    held: Mapping[SliceKey, frozenset[Claim]] = field(default_factory=dict)
    resources: Mapping[Address, ResourceState] = field(default_factory=dict)

    def seen(self, drifted: Mapping[Address, ResourceDrift]) -> StateSnapshot:
        """Return the record with what was seen on the hosts beside what was recorded of them."""
        found = {
            where: replace(entry, drift=drifted[where]) if where in drifted else entry
            for where, entry in self.resources.items()
        }
        return replace(self, resources=found)
