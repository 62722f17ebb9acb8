"""Describes trunks: the VLANs that cross from one host to the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from reconciler.plan.immutable import noun
from reconciler.plan.resources.base import FIXED, LIVE, Kind, Resource, Scope, Unit, address
from reconciler.spec.models.names import Address, HostName, VlanId

if TYPE_CHECKING:
    from reconciler.plan.design import SharedDesign, SliceDesign
    from reconciler.plan.snapshot import Claim
    from reconciler.spec.models.cluster import Cluster

GATEWAY_MAC = "52:54:00:00:00:01"
"""The MAC of the internet gateway. VM ids count from 1001, so no VM has it."""


@noun
class Trunk(Resource):
    """The VLANs that one slice, or the internet VLAN, adds to a host's trunk port.

    `gateway_mac` is set for the internet VLAN on workers: frames of that VLAN that arrive over the trunk from any other
    station are dropped.
    """

    kind: ClassVar[Kind] = Kind("trunk")
    scope: ClassVar[Scope] = Scope.EITHER
    unit: ClassVar[Unit] = Unit.HOST
    summary: ClassVar[tuple[str, ...]] = ("port", "vlans")

    bridge: Annotated[str, FIXED]
    port: Annotated[str, FIXED]
    vlans: Annotated[tuple[VlanId, ...], LIVE]
    gateway_mac: Annotated[str | None, LIVE]

    @classmethod
    def desired(cls, design: SliceDesign) -> Iterator[Self]:
        """Return the trunk of each host that a link of the slice crosses from."""
        bridge = design.cluster.bridge
        for host in sorted(design.trunks):
            yield cls(
                address=_trunk_address(design, host),
                slice=design.key,
                host=host,
                bridge=bridge.name,
                port=bridge.trunk,
                vlans=tuple(sorted(design.trunks[host])),
                gateway_mac=None,
            )

    @classmethod
    def shared(cls, design: SharedDesign) -> Iterator[Self]:
        """Return the internet VLAN's trunks: of the network node, and of each worker with a VM on the internet."""
        bridge = design.cluster.bridge
        hosts = dict.fromkeys(design.connected, GATEWAY_MAC)
        for host, gateway_mac in ({design.node: None} | hosts if hosts else {}).items():
            yield cls(
                address=internet_trunk_address(host),
                slice=None,
                host=host,
                bridge=bridge.name,
                port=bridge.trunk,
                vlans=(VlanId(design.cluster.internet.vlan),),
                gateway_mac=gateway_mac,
            )

    @classmethod
    def claimed(cls, cluster: Cluster, claims: Collection[Claim]) -> Iterator[Address]:
        """Return the internet VLAN's trunks that VMs claim, and the network node's with them."""
        workers = sorted({claim.scope for claim in claims if claim.kind == "uplink"})
        hosts = (*workers, cluster.network_node.name) if workers else ()
        return (internet_trunk_address(HostName(host)) for host in hosts)

    @property
    def name_on_host(self) -> str:
        """Its port, which several trunks share, and its address."""
        return f"{self.port} {self.address}"

    def merged(self, pending: Resource | None) -> Resource:
        """Return it with the VLANs of both ends of an unfinished change."""
        if not isinstance(pending, Trunk):
            return self
        return replace(self, vlans=tuple(sorted({*self.vlans, *pending.vlans})))

    def carried_vlans(self) -> tuple[VlanId, ...]:
        """Return its VLANs."""
        return self.vlans

    def guarded_vlans(self) -> tuple[VlanId, ...]:
        """Return its VLANs, where it lets in only the gateway."""
        return () if self.gateway_mac is None else self.vlans

    def conflict(self, other: Resource) -> str | None:
        """Return why another trunk is in its way: VLANs that it carries."""
        common = sorted({*self.vlans} & {*other.vlans}) if isinstance(other, Trunk) else []
        return f"VLANs {common} are carried for {other.address}" if common else None


def internet_trunk_address(host: HostName) -> Address:
    """Return the address of the internet VLAN's trunk on a host."""
    return address(Trunk, f"internet@{host}")


def trunk_of(design: SliceDesign, host: HostName) -> tuple[Address, ...]:
    """Return the address of the slice's trunk on a host, where it has one there."""
    return (_trunk_address(design, host),) if host in design.trunks else ()


def _trunk_address(design: SliceDesign, host: HostName) -> Address:
    return address(Trunk, f"{design.key}@{host}")
