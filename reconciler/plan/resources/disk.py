"""Describes the disks of VMs: QCOW2 overlays over base images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from reconciler.plan.immutable import noun
from reconciler.plan.resources.base import FIXED, Kind, Resource, Unit, Use, address
from reconciler.plan.resources.image import Image, image_address, image_path
from reconciler.spec.models import slice as spec
from reconciler.spec.models.fields import update_policy
from reconciler.spec.models.names import Bytes

if TYPE_CHECKING:
    from reconciler.plan.design import SliceDesign


@noun
class Disk(Resource):
    """A QCOW2 overlay of one VM. `size` is the virtual size in bytes, `backing` the image's path on the same host."""

    kind: ClassVar[Kind] = Kind("disk")
    unit: ClassVar[Unit] = Unit.VM
    holds_data: ClassVar[bool] = True
    held_open: ClassVar[bool] = True
    summary: ClassVar[tuple[str, ...]] = ("size", "backing")
    sizes: ClassVar[frozenset[str]] = frozenset({"size"})

    path: Annotated[str, FIXED]
    backing: Annotated[str, update_policy(spec.Vm, "image")]
    size: Annotated[Bytes, update_policy(spec.Vm, "disk")]

    @classmethod
    def desired(cls, design: SliceDesign) -> Iterator[Self]:
        """Return the disk of each VM."""
        for vm in design.vms:
            yield cls(
                address=address(cls, vm.label),
                slice=design.key,
                host=vm.host,
                needs=(image_address(vm.given.image, vm.host),),
                path=vm.disk_path,
                backing=image_path(vm.given.image),
                size=vm.size.disk,
            )

    @property
    def name_on_host(self) -> str:
        """Its path."""
        return self.path

    @property
    def disk_space(self) -> int:
        """Its virtual size."""
        return self.size

    def merged(self, pending: Resource | None) -> Self:
        """Return the larger one of an unfinished growth."""
        if not isinstance(pending, Disk) or pending.size <= self.size:
            return self
        return replace(self, size=pending.size)

    def uses(self) -> tuple[Use, ...]:
        """Return its base image."""
        return (Use(Image.kind, self.backing),)
