"""The switches as they were read, and the questions to ask of them: from every port, then wherever frames arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from reconciler.plan.resources import Port, Uplink
from reconciler.spec.models.names import Address, HostName
from reconciler.verify.declared import Declared, Station, mac_of
from reconciler.verify.frames import (
    ALL_NODES,
    BROADCAST,
    GROUP,
    NOBODY,
    STRANGER,
    Exit,
    Frame,
    Probe,
    Sort,
    arriving,
)

NO_TAG = 0
"""What VLANs are asked about at a port that carries all of them: without a tag."""

OUTSIDE = "198.51.100.7"
"""An address that no station has: TEST-NET-2 of RFC 5737."""

ANY_VLAN = 1
"""The foreign VLAN that a frame is tagged for where its worker carries no other."""


@dataclass(frozen=True, slots=True)
class LivePort:
    """A port as its switch has it; `number` is its OpenFlow number, `owner` its tag of ours or empty.

    A port without `tag` is a trunk: it carries the VLANs of `trunks`, and every one where that is empty.
    """

    host: HostName
    name: str
    number: int
    tag: int | None
    trunks: frozenset[int] = frozenset()
    owner: str = ""

    def carries(self, vlan: int) -> bool:
        """Whether frames of a VLAN pass here."""
        return self.tag == vlan if self.tag is not None else not self.trunks or vlan in self.trunks


@dataclass(frozen=True, slots=True)
class Switch:
    """One host's bridge: its name, which its own port has too, its port towards the other hosts, and all others."""

    bridge: str
    trunk: LivePort | None
    ports: tuple[LivePort, ...]


Switches = Mapping[HostName, Switch]


def origin_of(declared: Declared, port: LivePort) -> str:
    """Return the address of the station behind a port, or words for a port that is not on record."""
    if (station := declared.at(port.host, port.name)) is not None:
        return station
    return f"the port {port.name} of {port.host} ({port.owner or 'nobody'}'s, not on record)"


def local_probes(declared: Declared, switches: Switches) -> tuple[Probe, ...]:
    """Return what to ask of each switch about frames that its own ports send, and about strangers on its trunk."""
    return tuple(_local_probes(declared, switches))


def onward_probes(outcomes: Mapping[Probe, Sequence[Exit]], switches: Switches) -> tuple[Probe, ...]:
    """Return what to ask of the other switches about frames that have left one by its trunk.

    A frame to an unknown MAC is flooded like a broadcast: where both leave a switch alike, one of them is followed.
    """
    return tuple(_onward_probes(outcomes, switches))


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
                if isinstance(station, Port):
                    yield from map(ask, _forged(declared, station))
                yield from (ask(frame, target) for frame, target in _to_partners(declared, station))
        if switch.trunk is not None:
            for vlan in sorted(declared.guarded.get(host, ())):
                frame = Frame(Sort.INTRUDING, STRANGER, BROADCAST, vlan=vlan)
                yield Probe("a stranger", host, switch.trunk.name, switch.trunk.number, frame)


def _frames(station: Station) -> Iterator[Frame]:
    """Yield what a station sends to all."""
    mac, ip = mac_of(station) or NOBODY, _ip(station)
    yield Frame(Sort.BROADCAST, mac, BROADCAST, ip)
    if isinstance(station, Port):
        yield Frame(Sort.UNKNOWN, mac, STRANGER, ip)


def _forged(declared: Declared, port: Port) -> Iterator[Frame]:
    """Yield what a VM must not send: under another's MAC, with a tag, and on the internet VLAN in another's name."""
    senders = {Sort.SPOOFED: STRANGER, Sort.MULTICAST: GROUP, Sort.FROM_ALL: BROADCAST} | _others(declared, port)
    yield from (Frame(sort, mac, BROADCAST, port.ip) for sort, mac in senders.items())
    foreign = next((vlan for vlan in sorted(declared.carried[port.host]) if vlan != port.vlan), ANY_VLAN)
    yield Frame(Sort.TAGGED, port.mac, BROADCAST, port.ip, foreign)
    yield Frame(Sort.PRIORITY, port.mac, BROADCAST, port.ip, NO_TAG)
    yield Frame(Sort.DOUBLE, port.mac, BROADCAST, port.ip, foreign)
    if port.gateway_mac is not None:
        other = _other_ip(declared, port)
        yield Frame(Sort.GATEWAY, port.gateway_mac, BROADCAST, port.ip)
        yield Frame(Sort.ARP_SPOOFED, port.mac, port.gateway_mac, other)
        yield Frame(Sort.IP_SPOOFED, port.mac, port.gateway_mac, other)
        yield Frame(Sort.ADVERTISING, port.mac, ALL_NODES)
        yield Frame(Sort.SERVING, port.mac, BROADCAST, port.ip)


def _others(declared: Declared, port: Port) -> dict[Sort, str]:
    """Return the MAC of a VM that shares a link with this port, and that of one of another slice, where there are."""
    stations = declared.stations
    near = (one for where in sorted(declared.graph[port.address]) if isinstance(one := stations[where], Port))
    far = (one for _, one in sorted(stations.items()) if isinstance(one, Port) and one.slice != port.slice)
    found = {Sort.NEIGHBOUR: next(near, None), Sort.FOREIGN: next(far, None)}
    return {sort: one.mac for sort, one in found.items() if one is not None}


def _other_ip(declared: Declared, port: Port) -> str:
    """Return the address of another VM on the internet VLAN, or the gateway's where there is none."""
    stations = [one for _, one in sorted(declared.stations.items())]
    vms = (one.ip for one in stations if isinstance(one, Port) and one.ip is not None and one.ip != port.ip)
    gateways = (one.ip.partition("/")[0] for one in stations if isinstance(one, Uplink))
    return next(vms, next(gateways, None)) or OUTSIDE


def _to_partners(declared: Declared, station: Station) -> Iterator[tuple[Frame, Address]]:
    mac, ip = mac_of(station) or NOBODY, _ip(station)
    for partner in sorted(declared.graph[station.address]):
        target = mac_of(declared.stations[partner])
        if target is not None:
            yield Frame(Sort.KNOWN, mac, target, ip), partner


def _any_frames(port: LivePort, vlans: Iterable[int]) -> Iterator[Frame]:
    """Yield what may be sent from a port that nothing is known of: a broadcast on each VLAN that it carries."""
    yield Frame(Sort.BROADCAST, NOBODY, BROADCAST)
    if port.tag is None:
        yield from (Frame(Sort.BROADCAST, NOBODY, BROADCAST, vlan=vlan) for vlan in vlans if port.carries(vlan))


def _ip(station: Station) -> str | None:
    return station.ip if isinstance(station, Port) else station.ip.partition("/")[0]


def _onward_probes(outcomes: Mapping[Probe, Sequence[Exit]], switches: Switches) -> Iterator[Probe]:
    broadcasts = {probe.origin: exits for probe, exits in outcomes.items() if probe.frame.sort is Sort.BROADCAST}
    for probe, exits in outcomes.items():
        if probe.frame.sort is Sort.UNKNOWN and exits == broadcasts.get(probe.origin):
            continue
        here = switches[probe.host].trunk
        for left in exits:
            if here is None or left.port != here.name or probe.port == here.name:
                continue
            for host in sorted(switches):
                there = switches[host].trunk
                if host != probe.host and there is not None and there.carries(left.vlan or NO_TAG):
                    yield arriving(probe, host, there.name, there.number, left)
