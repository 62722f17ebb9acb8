"""Describes ports: TAPs of NICs, and what connects each to a VLAN of the bridge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from reconciler.plan.immutable import noun
from reconciler.plan.resources.base import FIXED, LIVE, GraphRole, Kind, Resource, Unit, address
from reconciler.plan.resources.station import Station, StationRole
from reconciler.plan.resources.trunk import GATEWAY_MAC, Trunk, internet_trunk_address
from reconciler.spec.models import slice as spec
from reconciler.spec.models.fields import update_policy
from reconciler.spec.models.names import Address, BitRate, VlanId

if TYPE_CHECKING:
    from reconciler.plan.design import NicDesign, SliceDesign
    from reconciler.plan.model import Change

DEFAULT_MTU = 1500


@noun
class Port(Resource):
    """A TAP of one NIC, and its port on the bridge if `vlan` is set. The TAP of an unlinked NIC is on no bridge.

    `gateway_mac` and `ip` are set on the internet VLAN only: the one station that this port may talk to, and the VM's
    address, the only one that it may send from. `broadcast` is how many broadcasts and multicasts it may send in a
    second, None for any number. `bandwidth` is how many bits it may send in a second, and how many it receives.
    """

    kind: ClassVar[Kind] = Kind("port")
    unit: ClassVar[Unit] = Unit.NIC
    graph_role: ClassVar[GraphRole] = GraphRole.END
    held_open: ClassVar[bool] = True
    runtime: ClassVar[bool] = True
    follows: ClassVar[frozenset[Kind]] = frozenset({Trunk.kind})
    summary: ClassVar[tuple[str, ...]] = ("tap", "mac", "vlan")
    rates: ClassVar[frozenset[str]] = frozenset({"bandwidth"})

    bridge: Annotated[str, FIXED]
    tap: Annotated[str, FIXED]
    mac: Annotated[str, FIXED]
    mtu: Annotated[int, update_policy(spec.Link, "mtu")]
    vlan: Annotated[VlanId | None, LIVE]
    gateway_mac: Annotated[str | None, LIVE]
    ip: Annotated[str | None, LIVE] = None
    broadcast: Annotated[int | None, LIVE] = None
    bandwidth: Annotated[BitRate | None, LIVE] = None

    @classmethod
    def desired(cls, design: SliceDesign) -> Iterator[Self]:
        """Return the port of each NIC of each VM."""
        bridge = design.cluster.bridge.name
        online = VlanId(design.cluster.internet.vlan)
        limits = design.cluster.limits
        for vm in design.vms:
            for nic in vm.nics:
                vlan = online if nic.ip is not None else nic.vlan
                yield cls(
                    address=port_address(nic),
                    slice=design.key,
                    host=vm.host,
                    after=(internet_trunk_address(vm.host),) if nic.ip is not None else (),
                    bridge=bridge,
                    tap=nic.tap,
                    mac=nic.mac,
                    mtu=nic.link.mtu if nic.link is not None else DEFAULT_MTU,
                    vlan=vlan,
                    gateway_mac=GATEWAY_MAC if nic.ip is not None else None,
                    ip=nic.ip,
                    broadcast=limits.broadcast if vlan is not None else None,
                    bandwidth=limits.bandwidth if vlan is not None else None,
                )

    @classmethod
    def interrupts_link(cls, change: Change, nic: int) -> bool:
        """Whether the NIC leaves its VLAN."""
        del nic
        return not change.in_place or change.touches("vlan")

    def station(self) -> Station:
        """Return the guest behind it."""
        return Station(
            StationRole.GUEST,
            self.address,
            self.slice,
            self.host,
            self.tap,
            self.vlan,
            self.mac,
            self.ip,
            gateway_mac=self.gateway_mac,
        )

    @property
    def name_on_host(self) -> str:
        """Its TAP."""
        return self.tap

    def unique_numbers(self) -> Iterator[str]:
        """Return its MAC, and its address on the internet VLAN."""
        yield f"MAC {self.mac}"
        if self.ip:
            yield f"address {self.ip}"

    def private_vlans(self) -> tuple[int, ...]:
        """Return its VLAN, where that is a link's."""
        return () if self.vlan is None or self.gateway_mac is not None else (self.vlan,)


def port_address(nic: NicDesign) -> Address:
    """Return the address of a NIC's port."""
    return address(Port, nic.label)
