"""Lists the frames to trace on each switch: from every port first, then wherever frames arrive by a trunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from reconciler.plan.resources import Station, StationRole
from reconciler.spec.models.names import Address, HostName
from reconciler.verify.declared import Declared
from reconciler.verify.frames import (
    ALL_NODES,
    BROADCAST,
    GROUP,
    UNKNOWN_MAC,
    UNUSED_MAC,
    Exit,
    Frame,
    FrameKind,
    Probe,
    arriving,
)

NO_TAG = 0
"""Stands for an untagged frame, on a port that carries every VLAN."""

OUTSIDE = "198.51.100.7"
"""An address that no station has (TEST-NET-2, RFC 5737)."""

ANY_VLAN = 1
"""The VLAN of a wrongly tagged frame, if its worker carries no other VLAN."""


@dataclass(frozen=True, slots=True)
class LivePort:
    """A port as its switch has it: `number` is its OpenFlow number, `owner` is our ownership tag, or empty.

    A port without `tag` is a trunk. It carries the VLANs of `trunks`, or every VLAN if `trunks` is empty.
    """

    host: HostName
    name: str
    number: int
    tag: int | None
    trunks: frozenset[int] = frozenset()
    owner: str = ""

    def carries(self, vlan: int) -> bool:
        """Whether the port carries a VLAN."""
        return self.tag == vlan if self.tag is not None else not self.trunks or vlan in self.trunks


@dataclass(frozen=True, slots=True)
class Switch:
    """One host's bridge: its name, its port to the other hosts, all other ports, and its own port, of the same name."""

    bridge: str
    trunk: LivePort | None
    ports: tuple[LivePort, ...]
    own: LivePort | None = None


Switches = Mapping[HostName, Switch]


def origin_of(declared: Declared, port: LivePort) -> str:
    """Return the address of the station behind a port, or a description of a port that the state does not have."""
    if (station := declared.at(port.host, port.name)) is not None:
        return station
    return (
        f"the port {port.name} of {port.host} ({f'owner {port.owner}' if port.owner else 'no owner'}, not in the state)"
    )


def local_probes(declared: Declared, switches: Switches) -> tuple[Probe, ...]:
    """Return the probes for frames that a switch's own ports send, and for unexpected frames on its trunk."""
    return tuple(_local_probes(declared, switches))


def onward_probes(frame_exits: Mapping[Probe, Sequence[Exit]], switches: Switches) -> tuple[Probe, ...]:
    """Return the probes for frames that have left a switch by its trunk, one for each switch that they enter.

    A frame to an unknown MAC is flooded like a broadcast. If both leave a switch by the same ports, one is followed.
    """
    return tuple(_onward_probes(frame_exits, switches))


def _local_probes(declared: Declared, switches: Switches) -> Iterator[Probe]:
    vlans = sorted(declared.vlans)
    for host in sorted(switches):
        switch = switches[host]
        for port in switch.ports:
            where = declared.at(host, port.name)
            ask = partial(Probe, origin_of(declared, port), host, port.name, port.number)
            if where is None:
                yield from map(ask, _any_frames(port, vlans))
            else:
                station = declared.stations[where]
                yield from map(ask, _frames(station))
                if station.role is StationRole.GUEST:
                    yield from map(ask, _forged(declared, station))
                yield from (ask(frame, target) for frame, target in _to_partners(declared, station))
        if switch.trunk is not None:
            for vlan in sorted(declared.guarded.get(host, ())):
                frame = Frame(FrameKind.UNEXPECTED, UNKNOWN_MAC, BROADCAST, vlan=vlan)
                yield Probe("an unknown MAC", host, switch.trunk.name, switch.trunk.number, frame)


def _frames(station: Station) -> Iterator[Frame]:
    """Yield the broadcast frames of a station."""
    mac, ip = station.mac or UNUSED_MAC, station.ip
    yield Frame(FrameKind.BROADCAST, mac, BROADCAST, ip)
    if station.role is StationRole.GUEST:
        yield Frame(FrameKind.UNKNOWN, mac, UNKNOWN_MAC, ip)


def _forged(declared: Declared, port: Station) -> Iterator[Frame]:
    """Yield frames that a VM must not send: another MAC, a VLAN tag, and on the internet VLAN another address."""
    mac = port.mac or UNUSED_MAC
    senders = {FrameKind.SPOOFED: UNKNOWN_MAC, FrameKind.MULTICAST: GROUP, FrameKind.FROM_ALL: BROADCAST} | _others(
        declared, port
    )
    yield from (Frame(kind, sender, BROADCAST, port.ip) for kind, sender in senders.items())
    foreign = next((vlan for vlan in sorted(declared.carried[port.host]) if vlan != port.vlan), ANY_VLAN)
    yield Frame(FrameKind.TAGGED, mac, BROADCAST, port.ip, foreign)
    yield Frame(FrameKind.PRIORITY, mac, BROADCAST, port.ip, NO_TAG)
    yield Frame(FrameKind.DOUBLE, mac, BROADCAST, port.ip, foreign)
    if port.gateway_mac is not None:
        other = _other_ip(declared, port)
        yield Frame(FrameKind.GATEWAY, port.gateway_mac, BROADCAST, port.ip)
        yield Frame(FrameKind.ARP_SPOOFED, mac, port.gateway_mac, other)
        yield Frame(FrameKind.IP_SPOOFED, mac, port.gateway_mac, other)
        yield Frame(FrameKind.ADVERTISING, mac, ALL_NODES)
        yield Frame(FrameKind.SERVING, mac, BROADCAST, port.ip)


def _others(declared: Declared, port: Station) -> dict[FrameKind, str]:
    """Return the MAC of a VM that shares a link with this port, and that of a VM of another slice, if there are any."""
    stations = declared.stations
    near = (one for where in sorted(declared.graph[port.address]) if (one := stations[where]).role is StationRole.GUEST)
    far = (one for _, one in sorted(stations.items()) if one.role is StationRole.GUEST and one.slice != port.slice)
    found = {FrameKind.NEIGHBOUR: next(near, None), FrameKind.FOREIGN: next(far, None)}
    return {kind: one.mac for kind, one in found.items() if one is not None and one.mac is not None}


def _other_ip(declared: Declared, port: Station) -> str:
    """Return the address of another VM on the internet VLAN, or the gateway's if there is none."""
    stations = [one for _, one in sorted(declared.stations.items())]
    vms = (one.ip for one in stations if one.role is StationRole.GUEST and one.ip is not None and one.ip != port.ip)
    gateways = (one.ip for one in stations if one.role is StationRole.GATEWAY)
    return next(vms, next(gateways, None)) or OUTSIDE


def _to_partners(declared: Declared, station: Station) -> Iterator[tuple[Frame, Address]]:
    mac, ip = station.mac or UNUSED_MAC, station.ip
    for partner in sorted(declared.graph[station.address]):
        target = declared.stations[partner].mac
        if target is not None:
            yield Frame(FrameKind.KNOWN, mac, target, ip), partner


def _any_frames(port: LivePort, vlans: Iterable[int]) -> Iterator[Frame]:
    """Yield the frames to try from an unknown port: a broadcast on each VLAN that it carries."""
    yield Frame(FrameKind.BROADCAST, UNUSED_MAC, BROADCAST)
    if port.tag is None:
        yield from (
            Frame(FrameKind.BROADCAST, UNUSED_MAC, BROADCAST, vlan=vlan) for vlan in vlans if port.carries(vlan)
        )


def _onward_probes(frame_exits: Mapping[Probe, Sequence[Exit]], switches: Switches) -> Iterator[Probe]:
    broadcasts = {
        probe.origin: exits for probe, exits in frame_exits.items() if probe.frame.kind is FrameKind.BROADCAST
    }
    for probe, exits in frame_exits.items():
        if probe.frame.kind is FrameKind.UNKNOWN and exits == broadcasts.get(probe.origin):
            continue
        here = switches[probe.host].trunk
        for left in exits:
            if here is None or left.port != here.name or probe.port == here.name:
                continue
            for host in sorted(switches):
                there = switches[host].trunk
                if host != probe.host and there is not None and there.carries(left.vlan or NO_TAG):
                    yield arriving(probe, host, there.name, there.number, left)
