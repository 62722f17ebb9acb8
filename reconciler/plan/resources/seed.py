"""Describes seed images: small disks with the user-data of VMs, which cloud-init reads in the guest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from reconciler.plan.immutable import noun
from reconciler.plan.resources.base import FIXED, LIVE, Kind, Resource, Unit, address
from reconciler.spec.models.names import VmId

if TYPE_CHECKING:
    from reconciler.plan.design import SliceDesign


@noun
class Seed(Resource):
    """A read-only disk with one VM's user-data and network configuration, in the format of cloud-init's NoCloud source.

    `cloud_init` is the start of a scrypt digest of the user-data (slow to brute-force). No resource contains the
    user-data itself. `macs` are those of the VM's NICs, in order.
    """

    kind: ClassVar[Kind] = Kind("seed")
    unit: ClassVar[Unit] = Unit.VM
    summary: ClassVar[tuple[str, ...]] = ("path", "cloud_init")
    secrets: ClassVar[frozenset[str]] = frozenset({"cloud_init"})

    path: Annotated[str, FIXED]
    vm_id: Annotated[VmId, FIXED]
    hostname: Annotated[str, LIVE]
    cloud_init: Annotated[str, LIVE]
    macs: Annotated[tuple[str, ...], LIVE] = ()

    @classmethod
    def desired(cls, design: SliceDesign) -> Iterator[Self]:
        """Return the seed of each VM that has user-data."""
        for vm in design.vms:
            if vm.user_data is not None:
                yield cls(
                    address=address(cls, vm.label),
                    slice=design.key,
                    host=vm.host,
                    path=vm.seed_path,
                    vm_id=vm.given.id,
                    hostname=vm.name,
                    cloud_init=vm.user_data,
                    macs=tuple([nic.mac for nic in vm.nics]),
                )

    @property
    def instance_id(self) -> str:
        """The id by which cloud-init recognizes an instance. With changed user-data the guest is a new instance."""
        return f"{self.vm_id}-{self.cloud_init}"

    @property
    def name_on_host(self) -> str:
        """Its path."""
        return self.path

    @property
    def content_digest(self) -> str:
        """The digest of the user-data."""
        return self.cloud_init
