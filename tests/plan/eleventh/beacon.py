"""Describes beacons, a kind that only tests have: a text file for each VM on its worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from reconciler.plan.resources import ROOT, Kind, Resource, Unit, Vm, address, noun
from reconciler.plan.resources.base import FIXED, LIVE

if TYPE_CHECKING:
    from reconciler.plan.design import SliceDesign


@noun
class Beacon(Resource):
    """A file that names a VM."""

    kind: ClassVar[Kind] = Kind("beacon")
    unit: ClassVar[Unit] = Unit.VM
    verified: ClassVar[bool] = True
    summary: ClassVar[tuple[str, ...]] = ("path", "text")

    path: Annotated[str, FIXED]
    text: Annotated[str, LIVE]

    @classmethod
    def desired(cls, design: SliceDesign) -> Iterator[Self]:
        for vm in design.vms:
            yield cls(
                address=address(cls, vm.label),
                slice=design.key,
                host=vm.host,
                after=(address(Vm, vm.label),),
                path=f"{ROOT}/beacons/{vm.given.id}",
                text=f"{vm.name} has {vm.given.vcpus} vCPU",
            )

    @property
    def name_on_host(self) -> str:
        return self.path

    def unique_numbers(self) -> Iterator[str]:
        yield f"beacon {self.path} of {self.host}"
