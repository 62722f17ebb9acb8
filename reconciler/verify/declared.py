"""Builds the declared graph from the state: the endpoints, which of them share a link, and the VLANs of each trunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import networkx as nx

from reconciler.plan.graph import ends
from reconciler.plan.resources import Resource, Station, StationRole
from reconciler.spec.models.names import Address, HostName, VlanId


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
        return next((where for where, one in self.stations.items() if (one.host, one.interface) == (host, port)), None)


def declare(resources: Iterable[Resource]) -> Declared:
    """Build the declared graph from the resources that the state has as present.

    The two ends of a link and its segment reach one another. So do the internet VLAN's gateway and each port on that
    VLAN. Pairs are taken from names and not from VLANs, so that a VLAN that was given out twice is found.
    """
    present = list(resources)
    stations = {one.address: one for resource in present if (one := resource.station()) is not None}
    graph: nx.Graph[Address] = nx.Graph()
    graph.add_nodes_from(sorted(stations))
    graph.add_edges_from(_pairs(stations))
    carried: dict[HostName, frozenset[VlanId]] = {one.host: frozenset() for one in stations.values()}
    guarded: dict[HostName, frozenset[VlanId]] = {}
    for resource in present:
        if carries := frozenset(resource.carried_vlans()):
            carried[resource.host] = carried.get(resource.host, frozenset()) | carries
        if guards := frozenset(resource.guarded_vlans()):
            guarded[resource.host] = guarded.get(resource.host, frozenset()) | guards
    return Declared(stations, graph, carried, guarded)


def _pairs(stations: Mapping[Address, Station]) -> Iterator[tuple[Address, Address]]:
    gateways = [one.address for one in stations.values() if one.role is StationRole.GATEWAY]
    guests = {_name(one): one.address for one in stations.values() if one.role is StationRole.GUEST}
    for one in stations.values():
        if one.link is not None:
            near = [guests[name] for vm, nic in ends(one.link) if (name := f"{one.slice}/{vm}:eth{nic}") in guests]
            yield from combinations((*near, one.address), 2)
        elif one.gateway_mac is not None:
            yield from ((one.address, gateway) for gateway in gateways)


def _name(station: Station) -> str:
    """Return the name of a station without its kind: `owner/slice/vm:eth1` for a NIC."""
    return station.address.partition("/")[2]
