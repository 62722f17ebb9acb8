"""The rules across the fields of one slice file, and between it and the cluster file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network
from typing import NamedTuple

from reconciler.errors import Code, Problem
from reconciler.spec.expand import ExpandedSlice, ExpandedVm
from reconciler.spec.load import SliceFile
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import MAX_INTERFACES, VmName, look
from reconciler.spec.models.slice import Endpoint, Link, VmDefaults
from reconciler.spec.quoting import did_you_mean
from reconciler.spec.yaml.document import Path
from reconciler.spec.yaml.source import Source

_SIZE_FIELDS = ("image", "vcpus", "memory", "disk")

_NOT_FOR_LINKS = {
    IPv4Network("0.0.0.0/8"): "means this host",
    IPv4Network("127.0.0.0/8"): "is every host's loopback",
    IPv4Network("169.254.0.0/16"): "is for link-local addresses",
    IPv4Network("224.0.0.0/3"): "is for multicast and reserved",
}
"""RFC 6890: networks that routers do not forward."""


class _Checked(NamedTuple):
    """A slice file, the cluster it is for, and its VMs with groups and defaults filled in."""

    slice: ExpandedSlice
    source: Source
    cluster: Cluster
    vms: Mapping[VmName, ExpandedVm]


def check_slice(file: SliceFile, cluster: Cluster) -> Iterator[Problem]:
    """Yield every problem of a slice file whose fields are right one at a time."""
    checked = _Checked(file.slice, file.source, cluster, file.slice.vms)
    yield from _owner(checked)
    yield from _known_names(checked)
    yield from _complete(checked)
    yield from _look_alikes(checked)
    yield from _links(checked)
    yield from _pool(checked)
    yield from _subnets(checked)


def _owner(checked: _Checked) -> Iterator[Problem]:
    owner, users = checked.slice.owner, checked.cluster.users
    if owner not in users:
        hint = did_you_mean(owner, users) or "list it under `users` in the cluster file"
        yield checked.source.problem(Code.UNKNOWN_NAME, f"the cluster has no user {owner}", ("owner",), hint)


def _known_names(checked: _Checked) -> Iterator[Problem]:
    whole = checked.slice.written
    yield from _known_sizes(checked, ("defaults",), whole.defaults)
    for name, group in whole.groups.items():
        yield from _known_sizes(checked, ("groups", name), group)
    workers = {worker.name for worker in checked.cluster.workers}
    for name, vm in whole.vms.items():
        path = ("vms", name)
        yield from _known_sizes(checked, path, vm)
        yield from _known(checked, (*path, "worker"), "the cluster has no worker", vm.worker, workers)
        yield from _known(checked, (*path, "group"), "this file has no group", vm.group, whole.groups)


def _known_sizes(checked: _Checked, path: Path, layer: VmDefaults) -> Iterator[Problem]:
    yield from _known(checked, (*path, "flavor"), "the cluster has no flavor", layer.flavor, checked.cluster.flavors)
    yield from _known(checked, (*path, "image"), "the cluster has no image", layer.image, checked.cluster.images)


def _known(checked: _Checked, path: Path, missing: str, name: str | None, known: Iterable[str]) -> Iterator[Problem]:
    if name is not None and name not in known:
        yield checked.source.problem(Code.UNKNOWN_NAME, f"{missing} {name}", path, did_you_mean(name, known))


def _complete(checked: _Checked) -> Iterator[Problem]:
    for name, vm in checked.vms.items():
        if vm.flavor is not None or not (lacking := [field for field in _SIZE_FIELDS if getattr(vm, field) is None]):
            continue
        if vm.group not in {None, *checked.slice.written.groups}:
            continue  # what the unknown group would have given is not known either
        summary = f"VM {name} has no flavor and lacks {_and(lacking)}"
        hint = "set `flavor` for it, for its group, or for all under `defaults`"
        yield checked.source.problem(Code.MISSING_KEY, summary, ("vms", name), hint, key=True)


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _look_alikes(checked: _Checked) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for name in checked.slice.vms:
        other = first.setdefault(look(name), name)
        if other != name:
            line = checked.source.locate_key(("vms", other)).line
            summary = f"VM name {name} is easily mistaken for {other} on line {line}"
            hint = "choose names that differ clearly"
            yield checked.source.problem(Code.CONFUSABLE_NAME, summary, ("vms", name), hint, key=True)


def _links(checked: _Checked) -> Iterator[Problem]:
    taken: dict[Endpoint, Path] = {}
    ends: Counter[str] = Counter()
    too_high: set[str] = set()
    for index, link in enumerate(checked.slice.links):
        one, other = link.endpoints
        if one.vm == other.vm:
            path: Path = ("links", index, "endpoints", 1)
            summary = f"this link joins {one.vm} to itself"
            yield checked.source.problem(Code.LINK_TO_ITSELF, summary, path, "a link joins two different VMs")
        for position, end in enumerate(link.endpoints):
            path = ("links", index, "endpoints", position)
            ends[end.vm] += 1
            if end.vm not in checked.vms:
                hint = did_you_mean(end.vm, checked.vms) or "list it under `vms`"
                yield checked.source.problem(Code.UNKNOWN_NAME, f"this slice has no VM {end.vm}", path, hint)
            elif end.interface is not None:
                yield from _interface(checked, end, path, taken, too_high)
    yield from _counts(checked, ends, too_high)


def _interface(
    checked: _Checked, end: Endpoint, path: Path, taken: dict[Endpoint, Path], too_high: set[str]
) -> Iterator[Problem]:
    """Check one end that names its interface; notes what it takes, and VMs whose interfaces it goes past."""
    limit = checked.vms[VmName(end.vm)].interfaces
    highest = MAX_INTERFACES if limit is None else limit
    if int((end.interface or "eth0")[3:]) > highest:
        too_high.add(end.vm)
        if limit is None:
            hint = f"a VM has at most {MAX_INTERFACES} data interfaces, eth1 to eth{MAX_INTERFACES}"
        else:
            hint = f"raise `interfaces` of {end.vm}, which is {limit}"
        summary = f"VM {end.vm} has no interface {end.interface}"
        yield checked.source.problem(Code.INTERFACE_MISSING, summary, path, hint)
    first = taken.setdefault(end, path)
    if first != path:
        place = checked.source.locate(first)
        summary = f"{end} is in use already, on line {place.line}, column {place.column}"
        hint = f"take another interface, or write {end.vm} alone for the next free one"
        yield checked.source.problem(Code.INTERFACE_IN_USE, summary, path, hint)


def _counts(checked: _Checked, ends: Mapping[str, int], too_high: set[str]) -> Iterator[Problem]:
    for name, vm in checked.vms.items():
        highest = MAX_INTERFACES if vm.interfaces is None else vm.interfaces
        if ends[name] > highest and name not in too_high:
            summary = (
                f"VM {name} has {ends[name]} link ends but only {highest} data interface{'' if highest == 1 else 's'}"
            )
            hint = "a VM cannot have more" if highest == MAX_INTERFACES else "raise `interfaces`, or leave it out"
            yield checked.source.problem(Code.INTERFACE_MISSING, summary, ("vms", name), hint, key=True)


def _pool(checked: _Checked) -> Iterator[Problem]:
    whole, vlans = checked.slice, checked.cluster.vlans
    pool = whole.vlans or vlans.per_slice
    size = vlans.range.last - vlans.range.first + 1
    if pool > size:
        summary = f"VLANs of {whole.key}: the cluster's range {vlans.range} has {size}, asked {pool}"
        yield checked.source.problem(Code.LIMIT, summary, ("vlans",), "ask for fewer")
    elif len(whole.links) > pool:
        asked = len(whole.links)
        summary = f"VLANs of {whole.key}: limit {pool}, used 0, asked {asked}, free {pool}"
        hint = f"each link takes a VLAN; write `vlans: {asked}`, within the owner's quota"
        yield checked.source.problem(Code.LIMIT, summary, ("links",), hint, key=True)


def _subnets(checked: _Checked) -> Iterator[Problem]:
    given: list[tuple[IPv4Network, int]] = []
    internet = checked.cluster.internet.subnet
    for index, link in enumerate(checked.slice.links):
        if link.subnet is None:
            continue
        given.append((link.subnet, index))
        path: Path = ("links", index, "subnet")
        yield from _usable(checked, link, link.subnet, path)
        if link.subnet.overlaps(internet):
            summary = f"subnet {link.subnet} overlaps the cluster's internet subnet {internet}"
            yield checked.source.problem(Code.SUBNET_OVERLAP, summary, path, "choose another, or leave it out")
    yield from _overlaps(checked, sorted(given))


def _usable(checked: _Checked, link: Link, subnet: IPv4Network, path: Path) -> Iterator[Problem]:
    for network, why in _NOT_FOR_LINKS.items():
        if subnet.overlaps(network):
            summary = f"subnet {subnet} cannot be a link's: {network} {why}"
            yield checked.source.problem(Code.WRONG_VALUE, summary, path, "such as 192.168.77.0/24")
    needed = len(link.endpoints) + (1 if link.gateway or link.dhcp else 0)
    if subnet.num_addresses - 2 < needed:
        summary = f"subnet {subnet} has too few addresses: this link needs {needed}"
        yield checked.source.problem(Code.WRONG_VALUE, summary, path, "such as 192.168.77.0/24")


def _overlaps(checked: _Checked, given: list[tuple[IPv4Network, int]]) -> Iterator[Problem]:
    """Compare sorted networks, each with the last that may reach into it: networks nest or are apart."""
    widest: tuple[IPv4Network, int] | None = None
    for network, index in given:
        if widest is None or not widest[0].overlaps(network):
            widest = (network, index)
            continue
        (earlier, other), (later, here) = sorted((widest, (network, index)), key=lambda each: each[1])
        line = checked.source.locate(("links", other, "subnet")).line
        summary = f"subnet {later} overlaps {earlier} of the link on line {line}"
        path: Path = ("links", here, "subnet")
        yield checked.source.problem(Code.SUBNET_OVERLAP, summary, path, "give each link a subnet of its own")
