"""Follows packets through routers, by the routes and rules of each namespace.

Packets enter where guests and the outside send them. For packets that must not pass, everything that a sender can
choose is assumed at its worst. For packets that must pass, every rule on the path must certainly accept them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

from reconciler.plan.resources import Station, StationRole
from reconciler.spec.models.names import HostName
from reconciler.verify.declared import Declared
from reconciler.verify.namespace import Inside, Interface, Namespace
from reconciler.verify.rules import Packet, PacketVerdict

OUTSIDE: Final = IPv4Address("198.51.100.7")
"""An address that represents the whole internet (TEST-NET-2, RFC 5737)."""

_LONGEST_PATH: Final = 16  # namespaces on the path of one packet

Way = tuple[str, ...]
"""The hops of a packet, each as a message."""


@dataclass(frozen=True, slots=True)
class Network:
    """The namespaces of one host; `ends` maps interface names to what is behind them."""

    host: HostName
    namespaces: Sequence[Namespace]
    ends: Mapping[str, str]

    def at(self, interface: str) -> Iterator[Namespace]:
        """Yield each namespace in which an interface of this name is up."""
        for one in self.namespaces:
            if (found := one.interfaces.get(interface)) is not None and found.up:
                yield one


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where packets enter: a segment's interface, the internet VLAN's gateway, or the uplink.

    `guest` is an address behind it. `gateway` says whether packets pass at all. With `apart`, guests behind the same
    entrance must not reach each other through the router; on a segment they share a link anyway.
    """

    end: str
    host: HostName
    interface: str
    slice: str | None
    guest: IPv4Address
    gateway: bool = True
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Arrival:
    """The end that a packet may reach, and its path."""

    end: str
    way: Way


def entrances(declared: Declared) -> tuple[Entrance, ...]:
    """Return the declared entrances, where packets enter and may leave."""
    return tuple(_entrances(declared))


def outside_of(uplink: Station) -> str:
    """Return the name of the network behind an uplink."""
    return f"the outside behind {uplink.uplink} of {uplink.host}"


def arrivals(network: Network, entrance: Entrance, targets: Iterable[IPv4Address]) -> Iterator[Arrival]:
    """Yield every end that packets to these addresses may reach, in the worst case; an end may be repeated."""
    for space in network.at(entrance.interface):
        start = Packet(entrance.interface, None, None, None)
        packets = [replace(start, target=target) for target in targets]
        if entrance.interface in space.ipv6:
            packets.append(replace(start, version=6))
        for packet in packets:
            way = (f"{_describe(packet)} into {entrance.interface} in {space} on {network.host}",)
            yield from _Walk(network, set()).onward(space, packet, way)


def blocked_path(network: Network, entrance: Entrance, other: Entrance) -> Way | None:
    """Return the path up to where a packet between two entrances may be stopped, or None if it certainly passes."""
    packet = Packet(entrance.interface, None, entrance.guest, other.guest, exact=True)
    for one in (entrance, other):
        spaces = [*network.at(one.interface)]
        if len(spaces) != 1:
            return (f"{one.interface} of {network.host} is {'in several namespaces' if spaces else 'down'}",)
    space = next(network.at(entrance.interface))
    way = f"{_describe(packet)} into {entrance.interface} in {space} on {network.host}"
    before = _verdict(space, ("ingress", "prerouting"), packet)
    hops = space.hops(packet)
    onward = replace(packet, outward=other.interface)
    after = _verdict(space, ("forward", "postrouting", "egress"), onward)
    if before.drops or before.targets:
        return way, f"there {', '.join(before.stops) or 'a rule'} may drop it"
    if not space.forwards(packet):
        return way, "there forwarding is off"
    if hops != {other.interface}:
        return way, f"there routed to {', '.join(sorted(map(str, hops)))}"
    if after.drops:
        return way, f"there {', '.join(after.stops)} may drop it"
    return None


def onward_path(network: Network, entrance: Entrance, target: IPv4Address) -> Way | None:
    """Return the path by which a packet from any sender may be sent on to exactly this address, or None."""
    packet = Packet(entrance.interface, None, None, target, exact=True)
    for space in network.at(entrance.interface):
        if not _verdict(space, ("ingress", "prerouting"), packet).passes or not space.forwards(packet):
            continue
        for hop in sorted(space.hops(packet), key=str):
            onward = replace(packet, outward=None if isinstance(hop, Inside) else hop)
            if onward.outward and _verdict(space, ("forward", "postrouting", "egress"), onward).passes:
                way = f"{_describe(packet)} into {entrance.interface} in {space} on {network.host}"
                return way, f"out of {onward.outward}"
    return None


def targets(networks: Iterable[Network], known: Iterable[Entrance]) -> tuple[IPv4Address, ...]:
    """Return the destination addresses to try: a guest behind each entrance, and one address of each route."""
    spaces = [space for network in networks for space in network.namespaces]
    own = {address for space in spaces for each in space.interfaces.values() for address in each.addresses}
    tables = [routes for space in spaces for routes in space.routes.values()]
    routes = {one.to for table in tables for one in table if one.kind == "unicast" and one.to.prefixlen}
    found = {one.guest for one in known} | {OUTSIDE}
    return tuple(sorted(found | {_example(route, own) for route in routes}))


def _example(route: IPv4Network, own: set[IPv4Address]) -> IPv4Address:
    """Return an address of a network, not one of our own if there is another."""
    size = min(route.num_addresses, 8)
    inside = (route[at] for at in range(1 if size > 2 else 0, size))  # noqa: PLR2004 - the first names the network
    return next((one for one in inside if one not in own), route[0])


def _entrances(declared: Declared) -> Iterator[Entrance]:
    online = [one for one in declared.stations.values() if one.gateway_mac is not None]
    for where, station in sorted(declared.stations.items()):
        if station.role is StationRole.ROUTER:
            guest = _neighbour(station.network)
            yield Entrance(where, station.host, station.interface, station.slice, guest, gateway=station.forwards)
        elif station.role is StationRole.GATEWAY:
            ip = next((one.ip for one in online if one.ip is not None), None)
            guest = IPv4Address(ip) if ip is not None else _neighbour(station.network)
            yield Entrance(where, station.host, station.interface, None, guest, apart=True)
            yield Entrance(outside_of(station), station.host, station.uplink, None, OUTSIDE)


def _neighbour(ip: str) -> IPv4Address:
    """Return an address of a router's network other than its own."""
    router = IPv4Interface(ip)
    return _example(router.network, {router.ip})


@dataclass(slots=True)
class _Walk:
    """Follows one packet through all namespaces that it enters; `been` has the interfaces that it entered by."""

    network: Network
    been: set[tuple[str, str, IPv4Address | None]]

    def onward(self, space: Namespace, packet: Packet, way: Way) -> Iterator[Arrival]:
        key = (space.name, packet.inward or "", packet.target)
        if key in self.been or len(way) > _LONGEST_PATH:
            return
        self.been.add(key)
        before = _verdict(space, ("ingress", "prerouting"), packet)
        yield from self._copied(space, packet, before, way)
        if not before.passes or not space.forwards(packet):
            return
        for target in sorted({packet.target, *before.targets}, key=str):
            turned = replace(packet, target=target)
            path = way if target == packet.target else (*way, f"there sent to {target or 'any address'}")
            for hop in sorted(space.hops(turned), key=str):
                if not isinstance(hop, Inside):
                    yield from self._out(space, replace(turned, outward=hop), path)

    def _out(self, space: Namespace, packet: Packet, way: Way) -> Iterator[Arrival]:
        after = _verdict(space, ("forward", "postrouting", "egress"), packet)
        yield from self._copied(space, packet, after, way)
        if after.passes and packet.outward is not None:
            yield from self._leave(space, packet, packet.outward, way)

    def _copied(self, space: Namespace, packet: Packet, outcome: PacketVerdict, way: Way) -> Iterator[Arrival]:
        for device in sorted(outcome.copies):
            yield from self._leave(space, packet, device, (*way, "there copied or redirected by a rule"))

    def _leave(self, space: Namespace, packet: Packet, name: str, way: Way) -> Iterator[Arrival]:
        """Yield the ends of a packet that leaves by an interface: a bridge floods it, a veth leads elsewhere."""
        interface = space.interfaces.get(name)
        path = (*way, f"out of {name}")
        if interface is None or not interface.up or name == "lo":
            return
        if name in self.network.ends:
            yield Arrival(self.network.ends[name], path)
            return
        if interface.kind == "bridge":
            for member in space.interfaces.values():
                if member.master == name and member.name != packet.inward:
                    yield from self._leave(space, packet, member.name, path)
        peers = [*self._peers(space, interface)]
        if not peers:
            yield Arrival(f"the interface {name} in {space} on {self.network.host}", path)
        for there, peer in peers:
            yield from self._arrive(there, peer, replace(packet, inward=peer.name, outward=None, source=None), path)

    def _arrive(self, space: Namespace, peer: Interface, packet: Packet, way: Way) -> Iterator[Arrival]:
        path = (*way, f"into {peer.name} in {space}")
        if not space.name and peer.name in self.network.ends:
            yield Arrival(self.network.ends[peer.name], path)
            return
        bridge = space.interfaces.get(peer.master or "")
        if bridge is not None and bridge.kind == "bridge":
            yield from self._leave(space, packet, bridge.name, path)
            packet = replace(packet, inward=bridge.name)
        yield from self.onward(space, packet, path)

    def _peers(self, space: Namespace, interface: Interface) -> Iterator[tuple[Namespace, Interface]]:
        """Yield the possible other ends of a veth: each end has the other's index."""
        if interface.kind != "veth":
            return
        for there in self.network.namespaces:
            for other in there.interfaces.values():
                if other.kind != "veth" or other is interface or not other.up:
                    continue
                named = there is space and other.lower == interface.name and interface.lower == other.name
                numbered = (other.link, interface.link) == (interface.index, other.index) and other.link is not None
                if named or numbered:
                    yield there, other


def _verdict(space: Namespace, hooks: Iterable[str], packet: Packet) -> PacketVerdict:
    """Return the verdict on a packet that passes several hooks in turn."""
    total = PacketVerdict()
    for hook in hooks:
        met = space.ruleset.verdict(hook, packet)
        total = PacketVerdict(
            total.passes and met.passes,
            total.drops or met.drops,
            [*total.stops, *met.stops],
            total.targets | met.targets,
            total.copies | met.copies,
        )
    return total


def _describe(packet: Packet) -> str:
    if packet.version != 4:  # noqa: PLR2004
        return "an IPv6 packet"
    sender = "any address" if packet.source is None else packet.source
    return f"a packet from {sender} to {packet.target}"
