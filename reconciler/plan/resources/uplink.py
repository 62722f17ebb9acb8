"""Describes the uplink: the internet VLAN's gateway on the network node."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from reconciler.plan.immutable import noun
from reconciler.plan.resources.base import FIXED, LIVE, Kind, Resource, Scope, Unit, address
from reconciler.plan.resources.station import Station, StationRole
from reconciler.plan.resources.trunk import GATEWAY_MAC, Trunk, internet_trunk_address
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, VlanId

if TYPE_CHECKING:
    from reconciler.plan.design import SharedDesign
    from reconciler.plan.snapshot import Claim


@noun
class Uplink(Resource):
    """The internet VLAN's gateway on the network node: an internal port, its address, DHCP, and NAT out of `uplink`.

    `ip` has its prefix length, such as `10.60.7.1/24`. Guests reach no private network behind it but those of
    `allow_private`, and never an address of `hosts`. `connections` is how many of a guest's connections it tracks at
    once, None for any number.
    """

    kind: ClassVar[Kind] = Kind("uplink")
    scope: ClassVar[Scope] = Scope.SHARED
    unit: ClassVar[Unit] = Unit.HOST
    verified: ClassVar[bool] = True
    follows: ClassVar[frozenset[Kind]] = frozenset({Trunk.kind})
    summary: ClassVar[tuple[str, ...]] = ("vlan", "ip", "uplink")

    bridge: Annotated[str, FIXED]
    interface: Annotated[str, FIXED]
    vlan: Annotated[VlanId, FIXED]
    ip: Annotated[str, FIXED]
    mac: Annotated[str, FIXED]
    uplink: Annotated[str, LIVE]
    dns: Annotated[tuple[str, ...], LIVE]
    hosts: Annotated[tuple[str, ...], LIVE] = ()
    allow_private: Annotated[tuple[str, ...], LIVE] = ()
    connections: Annotated[int | None, LIVE] = None

    @classmethod
    def shared(cls, design: SharedDesign) -> Iterator[Self]:
        """Return the uplink, where a VM is on the internet VLAN."""
        cluster = design.cluster
        internet = cluster.internet
        if design.connected:
            yield cls(
                address=uplink_address(cluster),
                slice=None,
                host=design.node,
                after=(internet_trunk_address(design.node),),
                bridge=cluster.bridge.name,
                interface=gateway_interface(internet.vlan),
                vlan=VlanId(internet.vlan),
                ip=f"{internet.gateway}/{internet.subnet.prefixlen}",
                mac=GATEWAY_MAC,
                uplink=cluster.network_node.uplink,
                dns=tuple(str(server) for server in internet.dns),
                hosts=tuple(str(one) for one in cluster.addresses()),
                allow_private=tuple(str(one) for one in sorted(cluster.allow_private)),
                connections=cluster.limits.connections,
            )

    @classmethod
    def claimed(cls, cluster: Cluster, claims: Collection[Claim]) -> Iterator[Address]:
        """Return the uplink, where a VM claims a part of the internet VLAN."""
        if any(claim.kind == "uplink" for claim in claims):
            yield uplink_address(cluster)

    def station(self) -> Station:
        """Return the gateway's interface."""
        return Station(
            StationRole.GATEWAY,
            self.address,
            None,
            self.host,
            self.interface,
            self.vlan,
            self.mac,
            self.ip.partition("/")[0],
            network=self.ip,
            uplink=self.uplink,
            closed=self.hosts,
            opened=self.allow_private,
        )

    @property
    def name_on_host(self) -> str:
        """Its interface."""
        return self.interface


def gateway_interface(vlan: int) -> str:
    """Return the interface of the internet VLAN's gateway on the network node."""
    return f"inet{vlan}"


def uplink_address(cluster: Cluster) -> Address:
    """Return the address of the cluster's uplink."""
    return address(Uplink, cluster.network_node.name)
