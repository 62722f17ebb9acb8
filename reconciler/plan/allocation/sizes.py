"""What a VM amounts to once its flavor is looked up: image, vCPUs, memory and disk; pure lookups."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.errors import PlanError
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Bytes
from reconciler.spec.models.slice import Vm

_DIGEST = 12


@dataclass(frozen=True, slots=True)
class VmSize:
    """A VM's image (the stem of its file's name on a worker), vCPUs, and memory and disk in bytes."""

    image: str
    vcpus: int
    memory: Bytes
    disk: Bytes


def vm_size(cluster: Cluster, label: str, vm: Vm) -> VmSize:
    """Take a VM's own settings over its flavor's; raises PlanError where neither says it all."""
    flavor = cluster.flavors.get(vm.flavor) if vm.flavor else None
    image = vm.image or (flavor.image if flavor else None)
    vcpus = vm.vcpus or (flavor.vcpus if flavor else None)
    memory = vm.memory or (flavor.memory if flavor else None)
    disk = vm.disk or (flavor.disk if flavor else None)
    if image not in cluster.images or vcpus is None or memory is None or disk is None:
        raise PlanError(f"{label} has no complete size", hint="give it a flavor, or image, vcpus, memory and disk")
    return VmSize(image_stem(cluster, image), vcpus, memory, disk)


def image_stem(cluster: Cluster, image: str) -> str:
    """Return the name of an image's file on workers, without suffix: its name and the start of its SHA-256."""
    return f"{image}-{cluster.images[image].sha256[:_DIGEST]}"
