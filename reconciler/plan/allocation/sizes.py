"""Looks up the image, vCPUs, memory and disk of a VM, from its own settings and its flavor."""

from __future__ import annotations

from reconciler.errors import PlanError
from reconciler.plan.immutable import immutable
from reconciler.spec.expand import ExpandedVm, with_flavor
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Bytes

_DIGEST = 12


@immutable
class VmSize:
    """A VM's image (the stem of its file's name on a worker), vCPUs, and memory and disk in bytes."""

    image: str
    vcpus: int
    memory: Bytes
    disk: Bytes


def vm_size(cluster: Cluster, label: str, vm: ExpandedVm) -> VmSize:
    """Prefer a VM's own settings to its flavor's; raises PlanError if they are incomplete together."""
    sized = with_flavor(vm, cluster.flavors)
    if sized.image not in cluster.images or sized.vcpus is None or sized.memory is None or sized.disk is None:
        raise PlanError(f"{label} has no complete size", hint="give it a flavor, or image, vcpus, memory and disk")
    return VmSize(image_stem(cluster, sized.image), sized.vcpus, sized.memory, sized.disk)


def image_name(stem: str) -> str:
    """Return the name of an image from its file's name on workers."""
    return stem.rpartition("-")[0]


def image_stem(cluster: Cluster, image: str) -> str:
    """Return the name of an image's file on workers, without suffix: its name and the start of its SHA-256."""
    return f"{image}-{cluster.images[image].sha256[:_DIGEST]}"
