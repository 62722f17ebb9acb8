"""One VM or one link of a slice, found in the record by its number, with the slice under its lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from reconciler.orchestrator.answers import Refused
from reconciler.orchestrator.remote_executor import RemoteExecutor
from reconciler.orchestrator.slice_at_work import SliceAtWork, at_work
from reconciler.plan.resources import Disk, Port, Reservation, Resource, Seed, Segment, Vm, address
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.models.names import SliceKey, VmName


@contextmanager
def vm_at_work(executor: RemoteExecutor, vm_dict: Mapping[str, Any]) -> Iterator[tuple[SliceAtWork, VmName]]:
    """Be at work on the slice of a VM; yields it with the VM's name. Raises Refused where nothing has its `vm_id`."""
    wanted = vm_dict.get("vm_id")
    for key, given in executor.recorded().allocations.items():
        for name, vm in given.vms.items():
            if vm.id == wanted:
                with at_work(executor, key) as work:
                    yield work, name
                return
    raise Refused(f"VM {wanted} not found")


@contextmanager
def link_at_work(executor: RemoteExecutor, vlan_id: int) -> Iterator[tuple[SliceAtWork, Segment]]:
    """Be at work on the slice of a link; yields it with the link's segment. Raises Refused where it has none."""
    for key, given in executor.recorded().allocations.items():
        for link_key, link in given.links.items():
            if link.vlan == vlan_id:
                with at_work(executor, key) as work:
                    yield work, _segment(work, f"{key}/{link_key}")
                return
    raise Refused(f"VLAN {vlan_id} is no link's")


def slice_on_internet(recorded: StateSnapshot) -> SliceKey:
    """Return a slice that needs the internet VLAN; raises Refused where none does."""
    for key, given in recorded.allocations.items():
        if any(vm.internet is not None for vm in given.vms.values()):
            return key
    raise Refused("no VM needs the internet VLAN")


def owned_by_vm(work: SliceAtWork, name: VmName) -> Sequence[Resource]:
    """Return all that is to stand for one VM alone."""
    label = f"{work.key}/{name}"
    own = (Vm, Disk, Seed, Port, Reservation)
    return [one for one in work.resources() if isinstance(one, own) and _label(one) == label]


def _label(resource: Resource) -> str:
    """Return which VM a resource is of: its address is `kind/owner/slice/vm`, or that and `:ethN`."""
    return resource.address.partition("/")[2].partition(":")[0]


def _segment(work: SliceAtWork, name: str) -> Segment:
    found = next((one for one in work.resources() if one.address == address(Segment, name)), None)
    if not isinstance(found, Segment):
        raise Refused(f"the link {name} has neither gateway nor DHCP")
    return found
