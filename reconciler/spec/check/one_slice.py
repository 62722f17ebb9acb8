"""Checks the rules that span several fields of a slice file, and those between it and the cluster file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network
from typing import NamedTuple

from reconciler.errors import Code, Problem
from reconciler.spec.expand import ExpandedSlice, ExpandedVm
from reconciler.spec.load import PartialFile, SliceFile
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import MAX_INTERFACES, VmName, skeleton
from reconciler.spec.models.slice import Endpoint, Link, VmDefaults
from reconciler.spec.quoting import did_you_mean, plural
from reconciler.spec.yaml.document import Path
from reconciler.spec.yaml.source import Source

_SIZE_FIELDS = ("image", "vcpus", "memory", "disk")

_NOT_FOR_LINKS = {
    IPv4Network("0.0.0.0/8"): "means this host",
    IPv4Network("127.0.0.0/8"): "is the loopback network",
    IPv4Network("169.254.0.0/16"): "is reserved for link-local addresses",
    IPv4Network("224.0.0.0/3"): "is multicast and reserved",
}
"""Networks that routers do not forward (RFC 6890)."""


class _Checked(NamedTuple):
    """A slice, its source, the cluster, and the expanded VMs."""

    slice: ExpandedSlice
    source: Source
    cluster: Cluster
    vms: Mapping[VmName, ExpandedVm]
    links: Mapping[int, Link]


def check_slice(file: SliceFile, cluster: Cluster) -> Iterator[Problem]:
    """Yield every problem of a slice file whose single fields are valid."""
    checked = _Checked(file.slice, file.source, cluster, file.slice.vms, file.links)
    yield from _owner(checked)
    yield from _known_names(checked)
    yield from _complete(checked)
    yield from _confusable(checked)
    yield from _links(checked)
    yield from _pool(checked)
    yield from _subnets(checked)
    yield from _mtus(checked)


def check_partial(file: PartialFile, cluster: Cluster) -> Iterator[Problem]:
    """Yield the problems of the valid parts of a slice file; what counts or needs the whole file is not checked."""
    valid = file.valid
    checked = _Checked(valid.slice, file.source, cluster, valid.slice.vms, valid.links)
    if "owner" not in valid.lost:
        yield from _owner(checked)
    yield from _known_names(checked, groups="groups" not in valid.lost)
    yield from _confusable(checked)
    if not valid.lost & {"vms", "links"}:
        yield from _endpoints(checked, set())
    yield from _subnets(checked)
    yield from _mtus(checked)


def _owner(checked: _Checked) -> Iterator[Problem]:
    owner, users = checked.slice.owner, checked.cluster.users
    if owner not in users:
        hint = did_you_mean(owner, users) or "add it under `users` in the cluster file"
        yield checked.source.problem(Code.UNKNOWN_NAME, f"the cluster has no user {owner}", ("owner",), hint)


def _known_names(checked: _Checked, *, groups: bool = True) -> Iterator[Problem]:
    whole = checked.slice.written
    yield from _known_sizes(checked, ("defaults",), whole.defaults)
    for name, group in whole.groups.items():
        yield from _known_sizes(checked, ("groups", name), group)
    workers = {worker.name for worker in checked.cluster.workers}
    for name, vm in whole.vms.items():
        path = ("vms", name)
        if vm.flavor is not None or vm.image is not None:
            yield from _known_sizes(checked, path, vm)
        if vm.worker is None and vm.group is None:
            continue
        yield from _known(checked, (*path, "worker"), "the cluster has no worker", vm.worker, workers)
        if groups:
            yield from _known(checked, (*path, "group"), "this file has no group", vm.group, whole.groups)


def _known_sizes(checked: _Checked, path: Path, layer: VmDefaults) -> Iterator[Problem]:
    yield from _known(checked, (*path, "flavor"), "the cluster has no flavor", layer.flavor, checked.cluster.flavors)
    yield from _known(checked, (*path, "image"), "the cluster has no image", layer.image, checked.cluster.images)


def _known(checked: _Checked, path: Path, missing: str, name: str | None, known: Iterable[str]) -> Iterator[Problem]:
    if name is not None and name not in known:
        yield checked.source.problem(Code.UNKNOWN_NAME, f"{missing} {name}", path, did_you_mean(name, known))


def _complete(checked: _Checked) -> Iterator[Problem]:
    for name, vm in checked.vms.items():
        if vm.flavor is not None or not (missing := [field for field in _SIZE_FIELDS if getattr(vm, field) is None]):
            continue
        if vm.group not in {None, *checked.slice.written.groups}:
            continue  # what the unknown group would set is not known
        summary = f"VM {name} has no flavor and no {_or(missing)}"
        hint = "set `flavor` for the VM, for its group, or for all VMs under `defaults`"
        yield checked.source.problem(Code.MISSING_KEY, summary, ("vms", name), hint, key=True)


def _or(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _confusable(checked: _Checked) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for name in checked.slice.vms:
        other = first.setdefault(skeleton(name), name)
        if other != name:
            line = checked.source.locate_key(("vms", other)).line
            summary = f"VM name {name} is too similar to {other} on line {line}"
            hint = "choose names that differ clearly"
            yield checked.source.problem(Code.CONFUSABLE_NAME, summary, ("vms", name), hint, key=True)


def _links(checked: _Checked) -> Iterator[Problem]:
    too_high: set[str] = set()
    yield from _endpoints(checked, too_high)
    ends: dict[str, int] = defaultdict(int)
    for link in checked.links.values():
        for end in link.endpoints:
            ends[end.vm] += 1
    yield from _counts(checked, ends, too_high)


def _endpoints(checked: _Checked, too_high: set[str]) -> Iterator[Problem]:
    """Check each endpoint, and add the VMs that lack an interface which a link names to `too_high`."""
    taken: dict[Endpoint, tuple[int, int]] = {}
    for index, link in checked.links.items():
        one, other = link.endpoints
        if one.vm == other.vm:
            path: Path = ("links", index, "endpoints", 1)
            summary = f"this link connects {one.vm} to itself"
            yield checked.source.problem(Code.LINK_TO_ITSELF, summary, path, "a link connects two different VMs")
        for position, end in enumerate(link.endpoints):
            vm = checked.vms.get(VmName(end.vm))
            if vm is None:
                hint = did_you_mean(end.vm, checked.vms) or "add it under `vms`"
                path = ("links", index, "endpoints", position)
                yield checked.source.problem(Code.UNKNOWN_NAME, f"this slice has no VM {end.vm}", path, hint)
            elif end.interface is not None:
                here = index, position
                first = taken.setdefault(end, here)
                highest = MAX_INTERFACES if vm.interfaces is None else vm.interfaces
                if int(end.interface[3:]) > highest:
                    too_high.add(end.vm)
                    yield _no_interface(checked, end, here, vm.interfaces)
                if first != here:
                    yield _in_use(checked, end, here, first)


def _no_interface(checked: _Checked, end: Endpoint, here: tuple[int, int], limit: int | None) -> Problem:
    """Return the problem of an endpoint (by the numbers of its link and endpoint) whose VM lacks the interface."""
    if limit is None:
        hint = f"a VM has at most {MAX_INTERFACES} data interfaces, eth1 to eth{MAX_INTERFACES}"
    else:
        line = checked.source.locate(checked.slice.origin(("vms", end.vm, "interfaces"))).line
        hint = f"increase `interfaces` of {end.vm}, which is {limit} (line {line})"
    summary = f"VM {end.vm} has no interface {end.interface}"
    return checked.source.problem(Code.INTERFACE_MISSING, summary, _endpoint_path(here), hint)


def _in_use(checked: _Checked, end: Endpoint, here: tuple[int, int], first: tuple[int, int]) -> Problem:
    where = checked.source.locate(_endpoint_path(first))
    summary = f"{end} is already in use (line {where.line}, column {where.column})"
    hint = f"use another interface, or write only {end.vm} for its next free interface"
    return checked.source.problem(Code.INTERFACE_IN_USE, summary, _endpoint_path(here), hint)


def _endpoint_path(here: tuple[int, int]) -> Path:
    link, endpoint = here
    return ("links", link, "endpoints", endpoint)


def _counts(checked: _Checked, ends: Mapping[str, int], too_high: set[str]) -> Iterator[Problem]:
    for name, vm in checked.vms.items():
        highest = MAX_INTERFACES if vm.interfaces is None else vm.interfaces
        if ends.get(name, 0) > highest and name not in too_high:
            links, interfaces = plural(ends[name], "link endpoint"), plural(highest, "data interface")
            summary = f"VM {name} has {links} but only {interfaces}"
            hint = "a VM cannot have more" if highest == MAX_INTERFACES else "increase `interfaces`, or leave it out"
            yield checked.source.problem(Code.INTERFACE_MISSING, summary, ("vms", name), hint, key=True)


def _pool(checked: _Checked) -> Iterator[Problem]:
    whole, vlans = checked.slice, checked.cluster.vlans
    pool = whole.vlans or vlans.per_slice
    size = vlans.range.last - vlans.range.first + 1
    if pool > size:
        summary = f"VLANs of {whole.key}: the cluster's range {vlans.range} has {size}, asked {pool}"
        yield checked.source.problem(Code.LIMIT, summary, ("vlans",), "use a smaller number")
    elif len(whole.links) > pool:
        asked = len(whole.links)
        summary = f"VLANs of {whole.key}: limit {pool}, used 0, asked {asked}, free {pool}"
        hint = f"each link uses one VLAN; write `vlans: {asked}`, within the owner's quota"
        yield checked.source.problem(Code.LIMIT, summary, ("links",), hint, key=True)


def _subnets(checked: _Checked) -> Iterator[Problem]:
    given: list[tuple[IPv4Network, int]] = []
    internet = checked.cluster.internet.subnet
    for index, link in checked.links.items():
        if link.subnet is None:
            continue
        given.append((link.subnet, index))
        path: Path = ("links", index, "subnet")
        yield from _usable(checked, link, link.subnet, path)
        if link.subnet.overlaps(internet):
            summary = f"subnet {link.subnet} overlaps the cluster's internet subnet {internet}"
            yield checked.source.problem(Code.SUBNET_OVERLAP, summary, path, "choose another subnet, or leave it out")
    yield from _overlaps(checked, sorted(given))


def _mtus(checked: _Checked) -> Iterator[Problem]:
    """Yield a problem for each link whose packets would be lost between two hosts."""
    most = checked.cluster.bridge.trunk_mtu
    for index, link in checked.links.items():
        if link.mtu > most:
            summary = f"a link with MTU {link.mtu} does not fit the trunks of the hosts, which carry {most}"
            hint = f"write `mtu: {most}`; or, where trunks carry more, raise bridge.trunk_mtu in the cluster file"
            yield checked.source.problem(Code.LIMIT, summary, ("links", index, "mtu"), hint)


def _usable(checked: _Checked, link: Link, subnet: IPv4Network, path: Path) -> Iterator[Problem]:
    for network, why in _NOT_FOR_LINKS.items():
        if subnet.overlaps(network):
            summary = f"subnet {subnet} cannot be used for a link: {network} {why}"
            yield checked.source.problem(Code.WRONG_VALUE, summary, path, "use, for example, 192.168.77.0/24")
    needed = len(link.endpoints) + (1 if link.gateway or link.dhcp else 0)
    if subnet.num_addresses - 2 < needed:
        summary = f"subnet {subnet} has too few addresses: this link needs {needed}"
        yield checked.source.problem(Code.WRONG_VALUE, summary, path, "use, for example, 192.168.77.0/24")


def _overlaps(checked: _Checked, given: list[tuple[IPv4Network, int]]) -> Iterator[Problem]:
    """Compare each network of a sorted list with the last one that can contain it: networks nest or are disjoint."""
    widest: tuple[IPv4Network, int] | None = None
    for network, index in given:
        if widest is None or not widest[0].overlaps(network):
            widest = (network, index)
            continue
        (earlier, other), (later, here) = sorted((widest, (network, index)), key=lambda each: each[1])
        line = checked.source.locate(("links", other, "subnet")).line
        summary = f"subnet {later} overlaps {earlier} of the link on line {line}"
        path: Path = ("links", here, "subnet")
        yield checked.source.problem(Code.SUBNET_OVERLAP, summary, path, "use a different subnet for each link")
