"""Builds the declared graph from the state: the endpoints, which of them share a link, and the VLANs of each trunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import networkx as nx

from reconciler.plan.graph import ends
from reconciler.plan.resources import Port, Resource, Segment, Trunk, Uplink, address
from reconciler.spec.models.names import Address, HostName, LinkKey, VlanId

Station = Port | Segment | Uplink
"""An endpoint that sends and receives frames: a VM's NIC, a router's interface, or the internet VLAN's gateway."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The graph that the live network must carry, and no more.

    `graph` has a node for the address of every station, and an edge between two stations that reach each other without
    a router. `carried` has the VLANs that each host's trunk port must carry. `guarded` has, for each host, the VLANs on
    which its trunk accepts only frames that the gateway has sent.
    """

    stations: Mapping[Address, Station]
    graph: nx.Graph[Address]
    carried: Mapping[HostName, frozenset[VlanId]]
    guarded: Mapping[HostName, frozenset[VlanId]]

    @property
    def vlans(self) -> frozenset[VlanId]:
        """Every VLAN that a station or a trunk is declared on."""
        on_stations = {station.vlan for station in self.stations.values() if station.vlan is not None}
        return frozenset(on_stations).union(*self.carried.values())

    @property
    def undeclared(self) -> int:
        """The number of pairs of stations that must not reach each other."""
        count = self.graph.number_of_nodes()
        return count * (count - 1) // 2 - self.graph.number_of_edges()

    def at(self, host: HostName, port: str) -> Address | None:
        """Return the station behind a switch port, or None if no declared station has it."""
        return next((where for where, one in self.stations.items() if (one.host, port_of(one)) == (host, port)), None)


def declare(resources: Iterable[Resource]) -> Declared:
    """Build the declared graph from the resources that the state has as present.

    The two ends of a link and its segment reach one another. So do the internet VLAN's gateway and each port on that
    VLAN. Pairs are taken from names and not from VLANs, so that a VLAN that was given out twice is found.
    """
    present = list(resources)
    stations = {one.address: one for one in present if isinstance(one, Port | Segment | Uplink)}
    graph: nx.Graph[Address] = nx.Graph()
    graph.add_nodes_from(sorted(stations))
    graph.add_edges_from(pair for pair in _pairs(stations) if all(end in stations for end in pair))
    carried: dict[HostName, frozenset[VlanId]] = {one.host: frozenset() for one in stations.values()}
    guarded: dict[HostName, frozenset[VlanId]] = {}
    for trunk in present:
        if isinstance(trunk, Trunk):
            carried[trunk.host] = carried.get(trunk.host, frozenset()) | {*trunk.vlans}
            if trunk.gateway_mac is not None:
                guarded[trunk.host] = guarded.get(trunk.host, frozenset()) | {*trunk.vlans}
    return Declared(stations, graph, carried, guarded)


def port_of(station: Station) -> str:
    """Return the name of a station's port on its host's switch."""
    return station.tap if isinstance(station, Port) else station.interface


def mac_of(station: Station) -> str | None:
    """Return a station's MAC address, or None for a router's interface, whose MAC its host chooses."""
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
