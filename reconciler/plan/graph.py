"""Settles the interfaces of each link of a slice, and counts what each VM needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from reconciler.plan.allocation.sizes import VmSize, vm_size
from reconciler.plan.snapshot import SliceAllocation
from reconciler.spec.expand import ExpandedSlice, ExpandedVm
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import LinkKey, SliceKey, VmName, link_key
from reconciler.spec.models.slice import Endpoint, Link

_KEY = re.compile(r"([^:]+):eth(\d+)--([^:]+):eth(\d+)")
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Topology:
    """One slice, ready to be given numbers.

    `vms` are in natural order of their names, and the links (`settled`) in natural order of their keys. `nics` counts
    the NICs that each VM needs, eth0 included. `sizes` is the size of each.
    """

    key: SliceKey
    slice: ExpandedSlice
    vms: Mapping[VmName, ExpandedVm]
    settled: Mapping[LinkKey, Link]
    nics: Mapping[VmName, int]
    sizes: Mapping[VmName, VmSize]

    def links(self) -> list[tuple[LinkKey, Link]]:
        """Return the links in natural order of their keys."""
        return list(self.settled.items())


@lru_cache(maxsize=2**16)  # slices have names in common: vm1, vm2, ...
def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """Return a sort key that puts vm2 before vm10, and differs for different names: vm01 comes before vm1."""
    return tuple([int(part) if part.isdigit() else part for part in _DIGITS.split(name)]), name


@lru_cache(maxsize=2**16)  # likewise
def ends(key: LinkKey) -> tuple[tuple[VmName, int], tuple[VmName, int]]:
    """Split a link's key into its two ends: a VM and an interface number each. Raises ValueError for any other text."""
    match = _KEY.fullmatch(key)
    if match is None:
        msg = f"{key!r} is not a link's key"
        raise ValueError(msg)
    return (VmName(match[1]), int(match[2])), (VmName(match[3]), int(match[4]))


def build_topology(cluster: Cluster, written: ExpandedSlice, state: SliceAllocation | None) -> Topology:
    """Settle the interfaces of every link, keeping those of the state, and count what each VM needs.

    The order of links in the file makes no difference: interfaces of the file come first, then those of the state, then
    the lowest free one in natural order of the link's ends. Raises PlanError if a VM's size is incomplete.
    """
    names = sorted(written.vms, key=natural)
    vms = {name: written.vms[name] for name in names}
    settled = _settle(written.links, vms, state)
    links = {key: settled[key] for key in sorted(settled, key=natural)}
    highest = dict.fromkeys(vms, 0)
    for key in links:
        for name, number in ends(key):
            highest[name] = max(highest[name], number)
    kept = state.vms if state else {}
    nics = {name: _nics(vm, highest[name], kept[name].nics if name in kept else 1) for name, vm in vms.items()}
    sizes = {name: vm_size(cluster, f"{written.key}/{name}", vm) for name, vm in vms.items()}
    return Topology(written.key, written, vms, links, nics, sizes)


def _nics(vm: ExpandedVm, highest: int, state: int) -> int:
    """Count NICs: as many as the file says, or as the links need. An existing NIC is kept for the next link."""
    if vm.interfaces is not None:
        return vm.interfaces + 1
    return max(highest + 1, state)


def _settle(
    links: Iterable[Link], vms: Mapping[VmName, ExpandedVm], state: SliceAllocation | None
) -> dict[LinkKey, Link]:
    taken: set[tuple[str, str]] = set()
    settled: dict[LinkKey, Link] = {}
    open_ended: list[Link] = []
    for link in links:
        taken.update((end.vm, end.interface) for end in link.endpoints if end.interface is not None)
        if any(end.interface is None for end in link.endpoints):
            open_ended.append(link)
        else:
            settled[link_key(*map(str, link.endpoints))] = link
    open_ended.sort(key=_order)
    if state:
        open_ended = _keep_interfaces(open_ended, vms, state, taken, settled)
    for link in open_ended:
        one, other = (_next_free(end, taken) for end in link.endpoints)
        settled[link_key(one, other)] = link
    return settled


def _keep_interfaces(
    links: Iterable[Link],
    vms: Mapping[VmName, ExpandedVm],
    state: SliceAllocation,
    taken: set[tuple[str, str]],
    settled: dict[LinkKey, Link],
) -> list[Link]:
    """Give links the interfaces that they had, if their VMs still have them; returns the links that had none."""
    by_pair: dict[frozenset[str], list[LinkKey]] = {}
    for key in sorted(state.links, key=natural):
        if not all(_has_nic(vms, *end) for end in ends(key)):
            continue
        by_pair.setdefault(frozenset(vm for vm, _ in ends(key)), []).append(key)
    left = []
    for link in links:
        candidates = by_pair.get(frozenset(end.vm for end in link.endpoints), [])
        found = next((key for key in candidates if key not in settled and _fits(link, key, taken)), None)
        if found is None:
            left.append(link)
            continue
        settled[found] = link
        taken.update((vm, f"eth{number}") for vm, number in ends(found))
    return left


def _has_nic(vms: Mapping[VmName, ExpandedVm], vm: VmName, number: int) -> bool:
    """Whether a VM may have a data interface: the file may limit their number."""
    limit = vms[vm].interfaces if vm in vms else 0
    return limit is None or number <= limit


def _fits(link: Link, key: LinkKey, taken: set[tuple[str, str]]) -> bool:
    had = {str(vm): f"eth{number}" for vm, number in ends(key)}
    return all(
        had[end.vm] == end.interface if end.interface is not None else (end.vm, had[end.vm]) not in taken
        for end in link.endpoints
    )


def _next_free(end: Endpoint, taken: set[tuple[str, str]]) -> str:
    if end.interface is not None:
        return str(end)
    number = 1
    while (end.vm, f"eth{number}") in taken:
        number += 1
    taken.add((end.vm, f"eth{number}"))
    return f"{end.vm}:eth{number}"


def _order(link: Link) -> tuple[list[tuple[tuple[str | int, ...], str]], str]:
    """Sort links by their ends, then by their other settings. The order of the ends makes no difference."""
    return sorted(natural(str(end)) for end in link.endpoints), link.model_dump_json(exclude={"endpoints"})
