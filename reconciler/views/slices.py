"""Describes slices as the state has them: VMs, NICs, addresses and links, for `status` and `show`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from reconciler.plan.graph import ends, natural
from reconciler.plan.resources import Disk, Port, Resource, Segment, Vm, address, of_kind
from reconciler.plan.snapshot import LinkAllocation, ResourceState, SliceAllocation, StateSnapshot, Status, VmAllocation
from reconciler.spec.models.names import Address, LinkKey, SliceKey, VmName

R = TypeVar("R", bound=Resource)


class Sync(StrEnum):
    """Whether the state is what the last apply was to reach."""

    SYNCED = "Synced"
    OUT_OF_SYNC = "OutOfSync"


@dataclass(frozen=True, slots=True)
class NicView:
    """One NIC; `vlan` is None if it is not connected, `ip` is None if DHCP reserves no address for it."""

    name: str
    mac: str
    tap: str
    vlan: int | None
    ip: str | None


@dataclass(frozen=True, slots=True)
class VmView:
    """One VM; `vnc` is an address on its worker's loopback. `health` is None if its worker was not asked.

    `restart_pending` says that its process was started in another way than it will be the next time.
    """

    name: VmName
    id: int
    worker: str
    status: str
    vcpus: int
    memory: int
    image: str
    disk: str
    vnc: str
    serial: str
    nics: tuple[NicView, ...]
    health: str | None = None
    restart_pending: bool = False


@dataclass(frozen=True, slots=True)
class LinkView:
    """One link; `gateway` is the router's address on it, or None; `status` is that of its ports and its segment."""

    key: LinkKey
    id: int
    vlan: int
    subnet: str
    gateway: str | None
    status: str


@dataclass(frozen=True, slots=True)
class SliceView:
    """One slice as the state has it."""

    key: SliceKey
    id: int
    pool: tuple[str, ...]
    sync: Sync
    vms: tuple[VmView, ...]
    links: tuple[LinkView, ...]


def slice_views(state: StateSnapshot) -> tuple[SliceView, ...]:
    """Return every slice of a snapshot, which must have their resources."""
    by_slice: dict[str, list[ResourceState]] = {}
    for entry in state.resources.values():
        by_slice.setdefault(entry.resource.slice or "", []).append(entry)
    return tuple(
        _slice(key, state.allocations[key], state.resources, by_slice.get(key, []))
        for key in sorted(state.allocations, key=natural)
    )


def with_health(view: SliceView, health: Mapping[VmName, str]) -> SliceView:
    """Return a slice with what its workers say of its VMs."""
    return replace(view, vms=tuple(replace(vm, health=health.get(vm.name, "missing")) for vm in view.vms))


def _slice(
    key: SliceKey,
    given: SliceAllocation,
    resources: Mapping[Address, ResourceState],
    own: Iterable[ResourceState],
) -> SliceView:
    entries = list(own)
    addresses = _addresses(entries)
    settled = all(entry.status is Status.PRESENT for entry in entries)
    complete = all(address(Vm, f"{key}/{vm}") in resources for vm in given.vms)
    return SliceView(
        key=key,
        id=given.id,
        pool=tuple(str(block) for block in given.pool),
        sync=Sync.SYNCED if settled and complete else Sync.OUT_OF_SYNC,
        vms=tuple(_vm(key, name, given.vms[name], resources, addresses) for name in sorted(given.vms, key=natural)),
        links=tuple(_link(key, name, given.links[name], resources) for name in sorted(given.links, key=natural)),
    )


def _addresses(entries: Iterable[ResourceState]) -> dict[str, str]:
    """Map MACs to the addresses that DHCP reserves for them."""
    found: dict[str, str] = {}
    for entry in entries:
        found.update(entry.resource.leased())
    return found


def _find(resources: Mapping[Address, ResourceState], noun: type[R], name: str) -> R | None:
    entry = resources.get(address(noun, name))
    return of_kind(entry.resource, noun) if entry else None


def _vm(
    key: SliceKey,
    name: VmName,
    given: VmAllocation,
    resources: Mapping[Address, ResourceState],
    addresses: Mapping[str, str],
) -> VmView:
    entry = resources.get(address(Vm, f"{key}/{name}"))
    vm = _find(resources, Vm, f"{key}/{name}")
    disk = _find(resources, Disk, f"{key}/{name}")
    ports = (_find(resources, Port, f"{key}/{name}:eth{nic}") for nic in range(given.nics))
    return VmView(
        name=name,
        id=given.id,
        worker=given.worker,
        status=str(entry.status) if entry else "missing",
        vcpus=given.vcpus,
        memory=given.memory,
        image=given.image,
        disk=disk.path if disk else "",
        vnc=f"127.0.0.1:{given.vnc}",
        serial=vm.serial if vm else "",
        nics=tuple(
            NicView(f"eth{nic}", port.mac, port.tap, port.vlan, addresses.get(port.mac))
            for nic, port in enumerate(ports)
            if port
        ),
        restart_pending=vm is not None and vm.restart_pending,
    )


def _link(key: SliceKey, name: LinkKey, given: LinkAllocation, resources: Mapping[Address, ResourceState]) -> LinkView:
    segment = resources.get(address(Segment, f"{key}/{name}"))
    router = _find(resources, Segment, f"{key}/{name}")
    gateway = router.ip.partition("/")[0] if router else None
    ports = [resources.get(address(Port, f"{key}/{vm}:eth{nic}")) for vm, nic in ends(name)]
    statuses = [entry.status for entry in (segment, *ports) if entry]
    unfinished = [str(status) for status in statuses if status is not Status.PRESENT]
    status = next(iter(unfinished), str(Status.PRESENT)) if all(ports) else "missing"
    return LinkView(name, given.id, given.vlan, given.subnet, gateway, status)
