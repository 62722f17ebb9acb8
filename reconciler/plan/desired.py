"""Lists the resources that should exist: those of each slice, and those that slices share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType

from reconciler.plan.design import SharedDesign, SliceDesign
from reconciler.plan.graph import Topology
from reconciler.plan.resources import KINDS, Resource
from reconciler.plan.snapshot import Claim, ResourceState, SliceAllocation, StateSnapshot, VmAllocation, shared_claims
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, SliceKey


def slice_resources(cluster: Cluster, topology: Topology, given: SliceAllocation) -> Iterator[Resource]:
    """Yield every resource of one slice."""
    design = SliceDesign(cluster, topology, given)
    for noun in KINDS.values():
        yield from noun.desired(design)


def shared_resources(
    cluster: Cluster,
    allocations: Mapping[SliceKey, SliceAllocation],
    known: Mapping[Address, ResourceState] = MappingProxyType({}),
) -> Iterator[Resource]:
    """Yield the resources that these slices share: images, and the internet VLAN with its uplink.

    `known` are the resources of the state: an image that was renewed is only described there.
    """
    design = SharedDesign(cluster, allocations.values(), known)
    for noun in KINDS.values():
        yield from noun.shared(design)


def shared_by_others(cluster: Cluster, state: StateSnapshot, scope: Collection[SliceKey]) -> set[Address]:
    """Return the shared resources of slices out of scope, by the VMs they have and those they may still have."""
    vms = [vm for key, had in state.allocations.items() if key not in scope for vm in had.vms.values()]
    return shared_by(cluster, vms, *(held for key, held in state.held.items() if key not in scope))


def shared_by(cluster: Cluster, vms: Iterable[VmAllocation], *held: Iterable[Claim]) -> set[Address]:
    """Return the shared resources that these VMs have, and those of claims that are still held."""
    claims = {claim for vm in vms for claim in shared_claims(vm)}.union(*held)
    return {where for noun in KINDS.values() for where in noun.claimed(cluster, claims)}
