"""Checks the images that slices use, by the headers of their local files, and that disks are large enough for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from reconciler.errors import Code, Problem
from reconciler.spec.expand import with_flavor
from reconciler.spec.load import ClusterFile, SliceFile, UncheckedFile
from reconciler.spec.models.fields import format_size
from reconciler.spec.qcow2 import Fault, read_header
from reconciler.spec.quoting import shown

_MIB = 2**20


def used_images(cluster: ClusterFile, slices: Iterable[SliceFile]) -> tuple[str, ...]:
    """Return the images that the VMs of these slices use, by name."""
    flavors = cluster.cluster.flavors
    vms = (with_flavor(vm, flavors) for each in slices for vm in each.slice.vms.values())
    return tuple(sorted({vm.image for vm in vms if vm.image is not None} & cluster.cluster.images.keys()))


def placeholders(cluster: UncheckedFile) -> Iterator[Problem]:
    """Yield a problem for each image whose checksum is still that of the template: all zeros."""
    images = cluster.data.get("images")
    for name, image in images.items() if isinstance(images, dict) else ():
        sha256 = image.get("sha256") if isinstance(image, dict) else None
        if isinstance(sha256, str) and re.fullmatch("0+", sha256):
            which = shown(name, quote=False)
            summary = f"image {which} has no checksum yet: its sha256 is all zeros, as `reconciler init` writes it"
            hint = f"`sha256sum {shown(str(image.get('file', 'FILE')), quote=False)}` prints it"
            yield cluster.source.problem(Code.IMAGE, summary, ("images", name, "sha256"), hint)


def check_images(
    cluster: ClusterFile, slices: Sequence[SliceFile], headers: Mapping[str, tuple[str, bytes]]
) -> Iterator[Problem]:
    """Yield a problem for each image that cannot be used, and for each disk that is smaller than its image.

    `headers` are the path and the first bytes of each image whose file is on this machine, by the image's name.
    """
    sizes: dict[str, int] = {}
    for name, (path, start) in sorted(headers.items()):
        match read_header(start, path):
            case Fault(text, hint):
                place = ("images", name, "file")
                yield cluster.source.problem(Code.IMAGE, f"image {name} cannot be used: {path} {text}", place, hint)
            case size:
                sizes[name] = size
    for each in slices:
        yield from _small_disks(each, cluster, sizes)


def _small_disks(file: SliceFile, cluster: ClusterFile, sizes: Mapping[str, int]) -> Iterator[Problem]:
    for name, vm in file.slice.vms.items():
        whole = with_flavor(vm, cluster.cluster.flavors)
        needed = sizes.get(whole.image or "", 0)
        if whole.disk is not None and whole.disk < needed:
            summary = (
                f"the disk of {name} is smaller than its image: "
                f"{whole.image} has {format_size(needed)}, the disk {format_size(whole.disk)}"
            )
            hint = f"give it `disk: {format_size(-(-needed // _MIB) * _MIB)}` or more, here or in its flavor"
            yield file.source.problem(Code.IMAGE, summary, ("vms", name, "disk"), hint)
