"""Describes segments: the interfaces of routers in the VLANs of links, with DHCP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Network
from itertools import islice
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from reconciler.plan.immutable import immutable, noun
from reconciler.plan.resources.base import FIXED, LIVE, Kind, Resource, Unit, Use, address
from reconciler.plan.resources.router import Router
from reconciler.plan.resources.station import Station, StationRole
from reconciler.plan.resources.trunk import Trunk, trunk_of
from reconciler.spec.models import slice as spec
from reconciler.spec.models.fields import update_policy
from reconciler.spec.models.names import Address, LinkKey, VlanId

if TYPE_CHECKING:
    from reconciler.plan.design import SliceDesign


@immutable
class Lease:
    """An address that DHCP reserves for one NIC. `default_route`: whether the guest's default route goes through it."""

    mac: str
    ip: str
    hostname: str
    default_route: bool


def lease_text(ip: str, router: str, *, default_route: bool, mtu: int | None = None) -> str:
    """Write what DHCP tells one NIC; `router` has its prefix length: `10.0.1.2/24 via 10.0.1.1, MTU 1500`."""
    gateway, _, length = router.partition("/")
    text = f"{ip}/{length} via {gateway}" if default_route else f"{ip}/{length}"
    return text if mtu is None else f"{text}, MTU {mtu}"


@noun
class Segment(Resource):
    """One link's VLAN in its slice's router: an internal port of the bridge, an address, and the NICs' DHCP leases.

    `ip` is the router's address with its prefix length, such as `192.168.100.1/24`. Without `gateway` the router
    answers DHCP here but forwards nothing. Without `dhcp` it hands out no addresses.
    """

    kind: ClassVar[Kind] = Kind("segment")
    unit: ClassVar[Unit] = Unit.LINK
    verified: ClassVar[bool] = True
    follows: ClassVar[frozenset[Kind]] = frozenset({Trunk.kind})
    summary: ClassVar[tuple[str, ...]] = ("vlan", "ip", "dhcp", "gateway")
    nested: ClassVar[Mapping[str, type]] = {"leases": Lease}

    bridge: Annotated[str, FIXED]
    namespace: Annotated[str, FIXED]
    interface: Annotated[str, FIXED]
    vlan: Annotated[VlanId, FIXED]
    ip: Annotated[str, update_policy(spec.Link, "subnet")]
    gateway: Annotated[bool, update_policy(spec.Link, "gateway")]
    dhcp: Annotated[bool, update_policy(spec.Link, "dhcp")]
    mtu: Annotated[int, LIVE]
    leases: Annotated[tuple[Lease, ...], LIVE]

    @classmethod
    def desired(cls, design: SliceDesign) -> Iterator[Self]:
        """Return the segment of each link that has a gateway or DHCP."""
        router, after = (address(Router, design.key),), trunk_of(design, design.node)
        for key, link in design.routed.items():
            given = design.given.links[key]
            gateway, *others = _first_hosts(given.subnet)
            yield cls(
                address=segment_address(design, key),
                slice=design.key,
                host=design.node,
                needs=router,
                after=after,
                bridge=design.cluster.bridge.name,
                namespace=design.namespace,
                interface=f"seg{given.vlan}",
                vlan=given.vlan,
                ip=gateway,
                gateway=link.gateway,
                dhcp=link.dhcp,
                mtu=link.mtu,
                leases=tuple(_leases(design, key, others)) if link.dhcp else (),
            )

    def station(self) -> Station:
        """Return the router's interface."""
        return Station(
            StationRole.ROUTER,
            self.address,
            self.slice,
            self.host,
            self.interface,
            self.vlan,
            None,
            self.ip.partition("/")[0],
            network=self.ip,
            namespace=self.namespace,
            link=LinkKey(self.address.removeprefix(f"{self.kind}/{self.slice}/")),
            leases=tuple(self.leased()),
            forwards=self.gateway,
        )

    @property
    def name_on_host(self) -> str:
        """Its interface."""
        return self.interface

    def uses(self) -> tuple[Use, ...]:
        """Return its router."""
        return (Use(Router.kind, self.namespace),)

    def conflict(self, other: Resource) -> str | None:
        """Return why another segment is in its way: the VLAN."""
        taken = isinstance(other, Segment) and other.vlan == self.vlan
        return f"VLAN {self.vlan} is taken by {other.address}" if taken else None

    def unique_numbers(self) -> Iterator[str]:
        """Return its VLAN, and its subnet in the slice."""
        yield f"VLAN {self.vlan} of a router"
        yield f"subnet {self.ip} of {self.slice}"

    def private_vlans(self) -> tuple[int, ...]:
        """Return its VLAN."""
        return (self.vlan,)

    def leased(self) -> Iterator[tuple[str, str]]:
        """Return its leases."""
        return ((lease.mac, lease.ip) for lease in self.leases)

    def lease_texts(self) -> Iterator[tuple[str, str]]:
        """Return the MAC of each lease with what DHCP tells that NIC."""
        for one in self.leases:
            yield one.mac, lease_text(one.ip, self.ip, default_route=one.default_route, mtu=self.mtu)


def segment_address(design: SliceDesign, key: LinkKey | None) -> Address:
    """Return the address of a link's segment."""
    return address(Segment, f"{design.key}/{key}")


def _leases(design: SliceDesign, key: LinkKey, ips: list[str]) -> Iterator[Lease]:
    ends = list(design.ends(key))
    if design.given.links[key].swapped:
        ends.reverse()
    for (vm, nic), ip in zip(ends, ips, strict=True):
        yield Lease(nic.mac, ip, vm.name, default_route=vm.default_route == nic.number)


@lru_cache(maxsize=2**12)  # each slice has a router of its own, so slices have subnets in common
def _first_hosts(subnet: str) -> tuple[str, str, str]:
    """Return the router's address with its prefix length, and those of the link's two ends without."""
    network = IPv4Network(subnet)
    gateway, one, other = (str(host) for host in islice(network.hosts(), 3))
    return f"{gateway}/{network.prefixlen}", one, other
