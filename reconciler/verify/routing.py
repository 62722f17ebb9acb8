"""Compares the entrances that packets reach through routers with the declared ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import permutations

import networkx as nx

from reconciler.plan.resources import Router, StationRole, address
from reconciler.spec.models.names import Address, HostName
from reconciler.verify.declared import Declared
from reconciler.verify.namespace import Namespace
from reconciler.verify.packets import Entrance, Network, arrivals, blocked_path, entrances, outside_of, targets
from reconciler.verify.probes import Switch, origin_of
from reconciler.verify.verification import Routed, Violation, ViolationKind


def network_of(declared: Declared, switch: Switch, host: HostName, spaces: Sequence[Namespace]) -> Network:
    """Return the namespaces of a host, with the name of what is behind each interface."""
    ends = {port.name: origin_of(declared, port) for port in switch.ports}
    uplinks = (one for one in declared.stations.values() if one.role is StationRole.GATEWAY and one.host == host)
    return Network(host, spaces, ends | {one.uplink: outside_of(one) for one in uplinks})


def compare_packets(
    declared: Declared, live: Mapping[HostName, Network], scope: Collection[str] | None = None
) -> tuple[Routed, tuple[Violation, ...]]:
    """Compare where packets may go with what is declared, for each ordered pair of entrances, of all or some slices."""
    known = {one.end: one for one in entrances(declared)}
    pairs = [pair for pair in _pairs(known.values()) if scope is None or any(known[end].slice in scope for end in pair)]
    wanted = _declared_ways(known.values())
    reached = _live_ways(known.values(), live)
    leaks = [*_leaks(known, wanted, reached, scope)]
    missing = [*_missing(known, live, (pair for pair in pairs if wanted.has_edge(*pair)))]
    present = sum(wanted.has_edge(*pair) for pair in pairs)
    closed = sum(not wanted.has_edge(*pair) and not reached.has_edge(*pair) for pair in pairs)
    gateways = _wrong_gateways(declared, live, scope)
    return Routed(present - len(missing), closed), (*missing, *leaks, *gateways)


def _pairs(known: Iterable[Entrance]) -> Iterator[tuple[str, str]]:
    """Yield every ordered pair to check: two different ends, and the internet VLAN's guests among themselves."""
    ends = [*known]
    yield from permutations((one.end for one in ends), 2)
    yield from ((one.end, one.end) for one in ends if one.apart)


def _declared_ways(known: Iterable[Entrance]) -> nx.DiGraph[str]:
    """Build the graph of declared paths: between the gateways of one slice, and from the internet VLAN outwards."""
    ends = [*known]
    ways: nx.DiGraph[str] = nx.DiGraph()
    ways.add_nodes_from(one.end for one in ends)
    for one, other in permutations(ends, 2):
        within = one.slice is not None and one.slice == other.slice and one.gateway and other.gateway
        outward = one.apart and other.slice is None and one.host == other.host
        if within or outward:
            ways.add_edge(one.end, other.end)
    return ways


def _live_ways(known: Iterable[Entrance], live: Mapping[HostName, Network]) -> nx.DiGraph[str]:
    """Build the graph of ends that packets may reach; each edge has one of their paths."""
    ends = [*known]
    ways: nx.DiGraph[str] = nx.DiGraph()
    ways.add_nodes_from(one.end for one in ends)
    tried = targets(live.values(), ends)
    for one in ends:
        for arrival in arrivals(live[one.host], one, tried):
            if not ways.has_edge(one.end, arrival.end):
                ways.add_edge(one.end, arrival.end, way=arrival.way)
    return ways


def _leaks(
    known: Mapping[str, Entrance], wanted: nx.DiGraph[str], reached: nx.DiGraph[str], scope: Collection[str] | None
) -> Iterator[Violation]:
    """Yield each undeclared path; what the outside reaches on the node itself is not checked."""
    judged = {*_pairs(known.values())}
    for one, other in reached.edges:
        concerned = scope is None or any(known[end].slice in scope for end in (one, other) if end in known)
        stray = other not in known and known[one].slice is None and not known[one].apart
        if (
            concerned
            and not stray
            and not wanted.has_edge(one, other)
            and (other not in known or (one, other) in judged)
        ):
            way = reached.edges[one, other]["way"]
            yield Violation(ViolationKind.LEAK, (one, other), f"packets from {one} reach {other}", way)


def _missing(
    known: Mapping[str, Entrance], live: Mapping[HostName, Network], pairs: Iterable[tuple[str, str]]
) -> Iterator[Violation]:
    for one, other in pairs:
        way = blocked_path(live[known[one].host], known[one], known[other])
        if way is not None:
            yield Violation(ViolationKind.MISSING, (one, other), f"packets from {one} do not reach {other}", way)


def _wrong_gateways(
    declared: Declared, live: Mapping[HostName, Network], scope: Collection[str] | None
) -> Iterator[Violation]:
    """Yield each interface in a router's set of gateways that belongs to none of its segments with a gateway."""
    routers: dict[tuple[HostName, str, Address], set[str]] = {}
    for one in declared.stations.values():
        if one.role is StationRole.ROUTER and one.slice is not None and (scope is None or one.slice in scope):
            own = routers.setdefault((one.host, one.namespace, address(Router, one.slice)), set())
            own |= {one.interface} if one.forwards else set()
    for (host, namespace, where), own in routers.items():
        for space in live[host].namespaces:
            for member in space.ruleset.members("inet", "reconciler", "gateways") or ():
                if space.name == namespace and member not in own:
                    message = f"{where} on {host} forwards for {member}, which is not a gateway of its slice"
                    yield Violation(ViolationKind.ROUTER, (where,), message)
