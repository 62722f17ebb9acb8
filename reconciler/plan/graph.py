"""From a slice to its graph: VMs are nodes, links are edges with every interface settled; numbers are allocation's."""

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

    `vms` have their group's settings and the defaults filled in; they stand in natural order of their names, and the
    links (`settled`) in that of their keys. `nics` counts the network cards that each VM needs, eth0 included; `sizes`
    is what each amounts to.
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
    """Return a sort key that puts vm2 before vm10, and takes no two names for one: vm01 comes before vm1."""
    return tuple([int(part) if part.isdigit() else part for part in _DIGITS.split(name)]), name


@lru_cache(maxsize=2**16)  # likewise
def ends(key: LinkKey) -> tuple[tuple[VmName, int], tuple[VmName, int]]:
    """Split a link's key into its two ends, each a VM and the number of its interface; raises ValueError for no key."""
    match = _KEY.fullmatch(key)
    if match is None:
        msg = f"{key!r} is not a link's key"
        raise ValueError(msg)
    return (VmName(match[1]), int(match[2])), (VmName(match[3]), int(match[4]))


def build_topology(cluster: Cluster, written: ExpandedSlice, recorded: SliceAllocation | None) -> Topology:
    """Settle every link's interfaces, keeping those recorded, and count what each VM needs.

    The order of links in the file makes no difference: written interfaces come first, then recorded ones, then the
    lowest free interface in natural order of the link's ends. Raises PlanError where a VM's size is not complete.
    """
    names = sorted(written.vms, key=natural)
    vms = {name: written.vms[name] for name in names}
    settled = _settle(written.links, vms, recorded)
    links = {key: settled[key] for key in sorted(settled, key=natural)}
    highest = dict.fromkeys(vms, 0)
    for key in links:
        for name, number in ends(key):
            highest[name] = max(highest[name], number)
    kept = recorded.vms if recorded else {}
    nics = {name: _nics(vm, highest[name], kept[name].nics if name in kept else 1) for name, vm in vms.items()}
    sizes = {name: vm_size(cluster, f"{written.key}/{name}", vm) for name, vm in vms.items()}
    return Topology(written.key, written, vms, links, nics, sizes)


def _nics(vm: ExpandedVm, highest: int, recorded: int) -> int:
    """Count network cards: as many as written, else as the links need; a card that stands is kept for the next link."""
    if vm.interfaces is not None:
        return vm.interfaces + 1
    return max(highest + 1, recorded)


def _settle(
    links: Iterable[Link], vms: Mapping[VmName, ExpandedVm], recorded: SliceAllocation | None
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
    if recorded:
        open_ended = _keep_recorded(open_ended, vms, recorded, taken, settled)
    for link in open_ended:
        one, other = (_next_free(end, taken) for end in link.endpoints)
        settled[link_key(one, other)] = link
    return settled


def _keep_recorded(
    links: Iterable[Link],
    vms: Mapping[VmName, ExpandedVm],
    recorded: SliceAllocation,
    taken: set[tuple[str, str]],
    settled: dict[LinkKey, Link],
) -> list[Link]:
    """Give links the interfaces they had, where their VMs still have them; returns those that had none."""
    by_pair: dict[frozenset[str], list[LinkKey]] = {}
    for key in sorted(recorded.links, key=natural):
        if not all(_has_card(vms, *end) for end in ends(key)):
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


def _has_card(vms: Mapping[VmName, ExpandedVm], vm: VmName, number: int) -> bool:
    """Whether a VM may have a data interface: one whose file says how many has no more than these."""
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
    """Sort links by their ends, then by all else that they say; which end stands first makes no difference."""
    return sorted(natural(str(end)) for end in link.endpoints), link.model_dump_json(exclude={"endpoints"})
