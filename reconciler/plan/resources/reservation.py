"""Describes reservations: addresses on the internet VLAN that DHCP keeps for VMs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from reconciler.plan.immutable import noun
from reconciler.plan.resources.base import FIXED, LIVE, Kind, Resource, Unit, Use, address
from reconciler.plan.resources.uplink import Uplink, uplink_address
from reconciler.spec.models.names import Address

if TYPE_CHECKING:
    from reconciler.plan.design import SliceDesign, VmDesign


@noun
class Reservation(Resource):
    """An address on the internet VLAN that DHCP keeps for one VM's eth0.

    `admitted` is whether the gateway lets requests of this NIC for itself pass to the DHCP server.
    """

    kind: ClassVar[Kind] = Kind("reservation")
    unit: ClassVar[Unit] = Unit.NIC
    summary: ClassVar[tuple[str, ...]] = ("ip", "mac")

    mac: Annotated[str, FIXED]
    ip: Annotated[str, FIXED]
    hostname: Annotated[str, LIVE]
    admitted: Annotated[bool, LIVE] = True

    @classmethod
    def desired(cls, design: SliceDesign) -> Iterator[Self]:
        """Return the reservation of each VM on the internet VLAN."""
        for vm in design.vms:
            if vm.given.internet is not None:
                yield cls(
                    address=reservation_address(vm),
                    slice=design.key,
                    host=design.node,
                    needs=(uplink_address(design.cluster),),
                    mac=vm.nics[0].mac,
                    ip=vm.given.internet,
                    hostname=vm.name,
                )

    @property
    def name_on_host(self) -> str:
        """The MAC that it is for."""
        return self.mac

    def uses(self) -> tuple[Use, ...]:
        """Return the uplink of its host, whose DHCP server it configures."""
        return (Use(Uplink.kind, None),)

    def unique_numbers(self) -> Iterator[str]:
        """Return its address."""
        yield f"reservation of {self.ip}"

    def leased(self) -> Iterator[tuple[str, str]]:
        """Return its MAC and its address."""
        yield self.mac, self.ip


def reservation_address(vm: VmDesign) -> Address:
    """Return the address of the reservation for a VM's eth0."""
    return address(Reservation, f"{vm.label}:eth0")
