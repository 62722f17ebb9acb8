"""Checks the rules that span several fields of a cluster file."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.errors import Code, Problem
from reconciler.spec.load import ClusterFile
from reconciler.spec.models.cluster import Cluster, Host, login_address
from reconciler.spec.models.names import skeleton
from reconciler.spec.quoting import did_you_mean, plural
from reconciler.spec.yaml.document import Path

LINK_PREFIX = 24
"""Each link for which the file gives no subnet gets a /24 of `links.subnets`."""

SMALLEST_INTERNET = 29
"""The prefix length of the smallest useful internet subnet: a gateway and five VMs."""


def check_cluster(file: ClusterFile) -> Iterator[Problem]:
    """Yield every problem of a cluster file whose single fields are valid."""
    yield from _hosts(file)
    yield from _flavors(file)
    yield from _vlans(file)
    yield from _internet(file)
    yield from _link_subnets(file)


def _host_paths(cluster: Cluster) -> Iterator[tuple[Path, Host]]:
    for index, worker in enumerate(cluster.workers):
        yield ("workers", index), worker
    yield ("network_node",), cluster.network_node


def _hosts(file: ClusterFile) -> Iterator[Problem]:
    names: dict[str, tuple[Path, str]] = {}
    addresses: dict[str, tuple[Path, str]] = {}
    for path, host in _host_paths(file.cluster):
        first, name = names.setdefault(skeleton(host.name), (path, host.name))
        if first != path:
            line = file.source.locate((*first, "name")).line
            if name == host.name:
                code, summary = Code.DUPLICATE_NAME, f"duplicate host name {name} (first defined on line {line})"
            else:
                code = Code.CONFUSABLE_NAME
                summary = f"host name {host.name} is too similar to {name} on line {line}"
            yield file.source.problem(code, summary, (*path, "name"), "choose names that differ clearly")
        first, owner = addresses.setdefault(str(host.address), (path, host.name))
        if first != path:
            summary = f"{host.name} has the address {host.address}, which {owner} already has"
            hint = "`address` is the host's own IP address; `ssh: {host, port}` is how to reach it"
            yield file.source.problem(Code.DUPLICATE_NAME, summary, (*path, "address"), hint)


def _flavors(file: ClusterFile) -> Iterator[Problem]:
    images = file.cluster.images
    for name, flavor in file.cluster.flavors.items():
        if flavor.image not in images:
            hint = did_you_mean(flavor.image, images) or "add it under `images`, with its file and sha256"
            summary = f"flavor {name} uses the image {flavor.image}, which is not defined under `images`"
            yield file.source.problem(Code.UNKNOWN_NAME, summary, ("flavors", name, "image"), hint)


def _vlans(file: ClusterFile) -> Iterator[Problem]:
    vlans = file.cluster.vlans
    size = vlans.range.last - vlans.range.first + 1
    if vlans.per_slice > size:
        summary = f"vlans.per_slice is {vlans.per_slice}, but the range {vlans.range} has {size} VLANs"
        path: Path = ("vlans", "per_slice") if "per_slice" in vlans.model_fields_set else ("vlans", "range")
        yield file.source.problem(Code.LIMIT, summary, path, "widen the range, or give fewer VLANs to each slice")


def _internet(file: ClusterFile) -> Iterator[Problem]:
    internet = file.cluster.internet
    subnet, gateway = internet.subnet, internet.gateway
    given = internet.model_fields_set
    if subnet.prefixlen > SMALLEST_INTERNET:
        summary = f"the internet subnet {subnet} is too small for a gateway and VMs"
        hint = f"use a /{SMALLEST_INTERNET} or a larger network"
        yield file.source.problem(Code.WRONG_VALUE, summary, ("internet", "subnet"), hint)
    elif gateway not in subnet or gateway in {subnet.network_address, subnet.broadcast_address}:
        summary = f"the internet gateway {gateway} is not a host address of {subnet}"
        path: Path = ("internet", "gateway") if "gateway" in given else ("internet", "subnet")
        yield file.source.problem(Code.WRONG_VALUE, summary, path, f"use, for example, {subnet.network_address + 1}")
    yield from _internet_of_hosts(file)


def _internet_of_hosts(file: ClusterFile) -> Iterator[Problem]:
    """Yield a problem if the internet subnet has addresses of hosts: the network node would take over their network."""
    subnet = file.cluster.internet.subnet
    paths: dict[str, Path] = {}
    for path, host in _host_paths(file.cluster):
        if host.address in subnet:
            paths.setdefault(f"{host.name} ({host.address})", (*path, "address"))
        elif (login := login_address(host.ssh)) is not None and login in subnet:
            paths.setdefault(f"{host.name} ({login})", (*path, "ssh", "host"))
    if paths:
        first, path = next(iter(paths.items()))
        others = f" and of {plural(len(paths) - 1, 'other host')}" if len(paths) > 1 else ""
        summary = f"the internet subnet {subnet} contains the address of {first}{others}"
        if "subnet" in file.cluster.internet.model_fields_set:
            path = ("internet", "subnet")
        yield file.source.problem(Code.SUBNET_OVERLAP, summary, path, "choose a private network that nothing else uses")


def _link_subnets(file: ClusterFile) -> Iterator[Problem]:
    subnets, internet = file.cluster.links.subnets, file.cluster.internet.subnet
    path: Path = ("links", "subnets")
    if subnets.prefixlen > LINK_PREFIX:
        summary = f"links.subnets {subnets} is too small: every link gets a /{LINK_PREFIX}"
        yield file.source.problem(Code.WRONG_VALUE, summary, path, "use, for example, 192.168.0.0/16")
    if subnets.overlaps(internet):
        summary = f"links.subnets {subnets} and internet.subnet {internet} overlap"
        if "links" not in file.cluster.model_fields_set:
            path = ("internet", "subnet")
        yield file.source.problem(Code.SUBNET_OVERLAP, summary, path, "choose networks that do not overlap")
