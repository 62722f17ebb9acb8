"""Finds one VM or one link by its number in the state, and locks its slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from reconciler.orchestrator.answers import Refused
from reconciler.orchestrator.locked_slice import LockedSlice, locked_slice
from reconciler.orchestrator.remote_executor import RemoteExecutor
from reconciler.plan.resources import Resource, Segment, Unit, address, of_kind
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.models.names import SliceKey, VmName


@contextmanager
def locked_vm(executor: RemoteExecutor, vm_dict: Mapping[str, Any]) -> Iterator[tuple[LockedSlice, VmName]]:
    """Lock the slice of a VM; yields it with the VM's name. Raises Refused if no VM has this `vm_id`."""
    wanted = vm_dict.get("vm_id")
    for key, given in executor.snapshot().allocations.items():
        for name, vm in given.vms.items():
            if vm.id == wanted:
                with locked_slice(executor, key) as work:
                    yield work, name
                return
    raise Refused(f"VM {wanted} not found")


@contextmanager
def locked_link(executor: RemoteExecutor, vlan_id: int) -> Iterator[tuple[LockedSlice, Segment]]:
    """Lock the slice of a link; yields it with the link's segment. Raises Refused if the link has none."""
    for key, given in executor.snapshot().allocations.items():
        for link_key, link in given.links.items():
            if link.vlan == vlan_id:
                with locked_slice(executor, key) as work:
                    yield work, _segment(work, f"{key}/{link_key}")
                return
    raise Refused(f"VLAN {vlan_id} belongs to no link")


def internet_slice(state: StateSnapshot) -> SliceKey:
    """Return a slice that needs the internet VLAN; raises Refused if no slice does."""
    for key, given in state.allocations.items():
        if any(vm.internet is not None for vm in given.vms.values()):
            return key
    raise Refused("no VM needs the internet VLAN")


def resources_of_vm(work: LockedSlice, name: VmName) -> Sequence[Resource]:
    """Return the resources of one VM only."""
    label = f"{work.key}/{name}"
    return [one for one in work.resources() if one.unit in {Unit.VM, Unit.NIC} and _label(one) == label]


def _label(resource: Resource) -> str:
    """Return the VM of a resource, whose address is `kind/owner/slice/vm` or `kind/owner/slice/vm:ethN`."""
    return resource.address.partition("/")[2].partition(":")[0]


def _segment(work: LockedSlice, name: str) -> Segment:
    found = of_kind(next((one for one in work.resources() if one.address == address(Segment, name)), None), Segment)
    if found is None:
        raise Refused(f"the link {name} has neither gateway nor DHCP")
    return found
