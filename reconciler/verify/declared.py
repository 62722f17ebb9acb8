"""What the record declares: the stations, which of them share a link, and the VLANs of each trunk; no host is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import networkx as nx

from reconciler.plan.graph import ends
from reconciler.plan.resources import Port, Resource, Segment, Trunk, Uplink, address
from reconciler.spec.models.names import Address, HostName, LinkKey, VlanId

Station = Port | Segment | Uplink
"""What sends and receives frames: a VM's card, a router's interface, the internet VLAN's gateway."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The graph that must be there, and nothing else.

    `graph` has the address of every station as a node and an edge between any two that reach each other without a
    router; `carried` are the VLANs that each host's trunk port must carry; `guarded` the hosts whose trunk lets in, on
    these VLANs, only what the gateway has sent.
    """

    stations: Mapping[Address, Station]
    graph: nx.Graph[Address]
    carried: Mapping[HostName, frozenset[VlanId]]
    guarded: Mapping[HostName, frozenset[VlanId]]

    @property
    def vlans(self) -> frozenset[VlanId]:
        """Every VLAN that something is declared on."""
        on_stations = {station.vlan for station in self.stations.values() if station.vlan is not None}
        return frozenset(on_stations).union(*self.carried.values())

    @property
    def undeclared(self) -> int:
        """How many pairs of stations must not reach each other."""
        count = self.graph.number_of_nodes()
        return count * (count - 1) // 2 - self.graph.number_of_edges()

    def at(self, host: HostName, port: str) -> Address | None:
        """Return the station behind a switch port, or None where the record knows of none."""
        return next((where for where, one in self.stations.items() if (one.host, port_of(one)) == (host, port)), None)


def declare(resources: Iterable[Resource]) -> Declared:
    """Read the declared graph from what is recorded as standing.

    The two ends of a link and its segment reach one another, and so do the internet VLAN's gateway and each port there;
    who meets whom is taken from names and not from VLANs, so that a VLAN given twice is found.
    """
    standing = list(resources)
    stations = {one.address: one for one in standing if isinstance(one, Port | Segment | Uplink)}
    graph: nx.Graph[Address] = nx.Graph()
    graph.add_nodes_from(sorted(stations))
    graph.add_edges_from(pair for pair in _pairs(stations) if all(end in stations for end in pair))
    carried: dict[HostName, frozenset[VlanId]] = {one.host: frozenset() for one in stations.values()}
    guarded: dict[HostName, frozenset[VlanId]] = {}
    for trunk in standing:
        if isinstance(trunk, Trunk):
            carried[trunk.host] = carried.get(trunk.host, frozenset()) | {*trunk.vlans}
            if trunk.gateway_mac is not None:
                guarded[trunk.host] = guarded.get(trunk.host, frozenset()) | {*trunk.vlans}
    return Declared(stations, graph, carried, guarded)


def port_of(station: Station) -> str:
    """Return the name of a station's port on its host's switch."""
    return station.tap if isinstance(station, Port) else station.interface


def mac_of(station: Station) -> str | None:
    """Return a station's MAC address, or None for a router's interface, whose MAC is its host's own choice."""
    return None if isinstance(station, Segment) else station.mac


def _pairs(stations: Mapping[Address, Station]) -> Iterator[tuple[Address, Address]]:
    uplinks = [one.address for one in stations.values() if isinstance(one, Uplink)]
    for one in stations.values():
        if isinstance(one, Segment):
            first, second = _ends(one)
            yield from ((first, second), (first, one.address), (second, one.address))
        elif isinstance(one, Port) and one.gateway_mac is not None:
            yield from ((one.address, uplink) for uplink in uplinks)


def _ends(segment: Segment) -> tuple[Address, Address]:
    """Return the ports at the two ends of a segment's link, which its address names."""
    link = segment.address.removeprefix(f"{Segment.kind}/{segment.slice}/")
    first, second = (address(Port, f"{segment.slice}/{vm}:eth{number}") for vm, number in ends(LinkKey(link)))
    return first, second
