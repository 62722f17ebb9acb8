"""The switches as they were read, and the questions to ask of them: from every port, then wherever frames arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from reconciler.plan.resources import Port
from reconciler.spec.names import Address, HostName
from reconciler.verify.declared import Declared, Station, mac_of
from reconciler.verify.frames import BROADCAST, NOBODY, STRANGER, Exit, Frame, Probe, Sort, arriving

NO_TAG = 0
"""What VLANs are asked about at a port that carries all of them: without a tag."""

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
                yield from map(ask, _frames(station, sorted(declared.carried[host])))
                yield from (ask(frame, target) for frame, target in _to_partners(declared, station))
        if switch.trunk is not None:
            for vlan in sorted(declared.guarded.get(host, ())):
                frame = Frame(Sort.INTRUDING, STRANGER, BROADCAST, vlan=vlan)
                yield Probe("a stranger", host, switch.trunk.name, switch.trunk.number, frame)


def _frames(station: Station, vlans: Iterable[int]) -> Iterator[Frame]:
    """Yield what a station sends to all; for a VM's card, whose flows tell frames apart, also what must not pass."""
    mac, ip = mac_of(station) or NOBODY, _ip(station)
    yield Frame(Sort.BROADCAST, mac, BROADCAST, ip)
    if isinstance(station, Port):
        yield Frame(Sort.UNKNOWN, mac, STRANGER, ip)
        yield Frame(Sort.SPOOFED, STRANGER, BROADCAST, ip)
        foreign = next((vlan for vlan in vlans if vlan != station.vlan), ANY_VLAN)
        yield Frame(Sort.TAGGED, mac, BROADCAST, ip, foreign)


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
