"""Builds the imperative system's dicts of slices, VMs and links from slice files and the state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TypedDict

from reconciler.plan.desired import slice_resources
from reconciler.plan.graph import build_topology, ends, natural
from reconciler.plan.resources import Port, Resource, Unit, Vm, address, of_kind
from reconciler.plan.snapshot import SliceAllocation, StateSnapshot, Status
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, LinkKey, SliceKey, VmName
from reconciler.views.slices import Sync, slice_views


class State(StrEnum):
    """The status of a slice or a VM; in design it has numbers and overlays, and nothing runs."""

    DESIGN = "design"
    RUNNING = "running"


class InterfaceDict(TypedDict):
    """One NIC; `vlan_id` and `link_id` are None if it has no link, `ip` if DHCP reserves none for it."""

    name: str
    vlan_id: int | None
    link_id: int | None
    ip: str | None
    mac: str


class VmDict(TypedDict):
    """One VM, with its numbers, which never change."""

    vm_id: int
    name: str
    flavor: str | None
    worker_ip: str
    vnc_port: int
    qcow_image: str
    status: str
    interfaces: list[InterfaceDict]


class LinkDict(TypedDict):
    """One link, with the id and interface of the VM at each end."""

    link_id: int
    vlan_id: int
    vm1_id: int
    vm1_interface: str
    vm2_id: int
    vm2_interface: str


class SliceDict(TypedDict):
    """One slice; `vlan_pool` has its own VLANs."""

    slice_id: int
    name: str
    owner: str
    topology: str
    status: str
    vlan_pool: list[int]
    vms: list[VmDict]
    links: list[LinkDict]


def slice_state(state: StateSnapshot, key: SliceKey) -> State:
    """Return whether a slice runs: it has VMs, and every one of its resources is present."""
    view = next((one for one in slice_views(state) if one.key == key), None)
    return State.RUNNING if view and view.vms and view.sync is Sync.SYNCED else State.DESIGN


def resources_of(cluster: Cluster, written: ExpandedSlice, given: SliceAllocation) -> Mapping[Address, Resource]:
    """Return every resource that a slice has when it runs."""
    topology = build_topology(cluster, written, given)
    return {resource.address: resource for resource in slice_resources(cluster, topology, given)}


def slice_dict(cluster: Cluster, written: ExpandedSlice, state: StateSnapshot) -> SliceDict:
    """Return a slice with its VMs and links."""
    given = state.allocations[written.key]
    names = sorted(given.vms, key=natural)
    return {
        "slice_id": given.id,
        "name": written.name,
        "owner": written.owner,
        "topology": written.labels.get("topology", written.topology),
        "status": str(slice_state(state, written.key)),
        "vlan_pool": [vlan for block in given.pool for vlan in range(block.first, block.last + 1)],
        "vms": [vm_dict(cluster, written, state, name) for name in names],
        "links": [link_dict(given, key) for key in sorted(given.links, key=lambda key: given.links[key].id)],
    }


def vm_dict(cluster: Cluster, written: ExpandedSlice, state: StateSnapshot, name: VmName) -> VmDict:
    """Return a VM of a slice, with its numbers."""
    given = state.allocations[written.key]
    vm = given.vms[name]
    entry = state.resources.get(address(Vm, f"{written.key}/{name}"))
    runs = entry is not None and entry.status is Status.PRESENT
    return {
        "vm_id": vm.id,
        "name": name,
        "flavor": written.vms[name].flavor,
        "worker_ip": str(cluster.host(vm.worker).address),
        "vnc_port": vm.vnc,
        "qcow_image": f"{name}_img.qcow2",
        "status": str(State.RUNNING if runs else State.DESIGN),
        "interfaces": list(_interfaces(resources_of(cluster, written, given), given, written.key, name)),
    }


def link_dict(given: SliceAllocation, key: LinkKey, first: str = "") -> LinkDict:
    """Return a link of a slice; the end that is `first`, such as `web:eth1`, is named first."""
    one, other = ends(key)
    if f"{other[0]}:eth{other[1]}" == first:
        one, other = other, one
    return {
        "link_id": given.links[key].id,
        "vlan_id": given.links[key].vlan,
        "vm1_id": given.vms[one[0]].id,
        "vm1_interface": f"eth{one[1]}",
        "vm2_id": given.vms[other[0]].id,
        "vm2_interface": f"eth{other[1]}",
    }


def _interfaces(
    resources: Mapping[Address, Resource], given: SliceAllocation, key: SliceKey, name: VmName
) -> Iterator[InterfaceDict]:
    leases = dict(pair for one in resources.values() if one.unit is Unit.LINK for pair in one.leased())
    links = {end: link.id for link_key, link in given.links.items() for end in ends(link_key)}
    for number in range(given.vms[name].nics):
        port = of_kind(resources[address(Port, f"{key}/{name}:eth{number}")], Port)
        assert port is not None, "its address begins with its kind"  # noqa: S101 - an invariant of addresses
        yield {
            "name": f"eth{number}",
            "vlan_id": port.vlan,
            "link_id": links.get((name, number)),
            "ip": port.ip or leases.get(port.mac),
            "mac": port.mac,
        }
