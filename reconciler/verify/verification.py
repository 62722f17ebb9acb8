"""Compares the graph of ports that frames reach with the declared graph; each difference has a frame's path."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import networkx as nx

from reconciler.spec.models.cluster import PARKING_VLAN
from reconciler.spec.models.names import Address, HostName
from reconciler.verify.declared import Declared
from reconciler.verify.frames import Exit, FrameKind, Probe
from reconciler.verify.probes import Switches, origin_of

if TYPE_CHECKING:
    from reconciler.verify.probes import LivePort

FrameExits = Mapping[Probe, Sequence[Exit]]
"""The ports that the frame of each probe leaves by, on every switch that it enters."""


class ViolationKind(StrEnum):
    """The ways in which the live network can differ from the declared one."""

    MISSING = "missing path"
    LEAK = "undeclared path"
    FORGED = "forged frame let through"
    TRUNK = "trunk"
    ROUTER = "router"
    IMPOSTOR = "impostor"


@dataclass(frozen=True, slots=True)
class Violation:
    """One difference: the ends that it concerns, a message, and the hops that a frame takes."""

    kind: ViolationKind
    ends: tuple[str, ...]
    message: str
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Write it on one line."""
        way = f" ({', then '.join(self.path)})" if self.path else ""
        return f"{self.kind}: {self.message}{way}"


@dataclass(frozen=True, slots=True)
class Routed:
    """The result for packets through routers: how many declared pairs pass, and how many undeclared pairs do not."""

    present: int = 0
    absent: int = 0


@dataclass(frozen=True, slots=True)
class Probed:
    """The result of ARP probes: how many NICs reply from their own MAC only, and which do not reply."""

    answered: int
    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """The result: declared pairs that reach each other, undeclared pairs that do not, forged frames dropped.

    `routed` counts ordered pairs of entrances for packets: segments, the internet VLAN, and the outside. `probed` is
    None if guests were not probed.
    """

    present: int
    absent: int
    dropped: int
    violations: tuple[Violation, ...]
    routed: Routed = Routed()
    probed: Probed | None = None

    @property
    def verified(self) -> bool:
        """Whether there is no violation, and every probed guest replied."""
        return not self.violations and not (self.probed and self.probed.silent)


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A frame that left a switch by a port other than the trunk."""

    probe: Probe
    end: str
    path: tuple[str, ...]


def compare_frames(declared: Declared, switches: Switches, frame_exits: FrameExits) -> Verification:
    """Compare the ports that frames reach with the declared graph; each pair counts once, in either direction."""
    arrivals = [*_arrivals(declared, switches, frame_exits)]
    live = _live_graph(declared, arrivals)
    leaks = [*_leaks(declared, live)]
    missing = [*_missing(declared, live, frame_exits, arrivals)]
    forged = [*_forged(switches, frame_exits, arrivals)]
    between = {violation.ends for violation in leaks if all(end in declared.stations for end in violation.ends)}
    asked = [probe for probe in frame_exits if probe.frame.kind.forged and not probe.path]
    return Verification(
        present=declared.graph.number_of_edges() - len(missing),
        absent=declared.undeclared - len(between),
        dropped=len(asked) - len(forged),
        violations=(*missing, *leaks, *forged, *_trunks(declared, switches)),
    )


def router_violation(where: Address, host: HostName, attributes: Collection[str]) -> Violation:
    """Return the violation for a router, a segment or the uplink that differs from the state in some attributes."""
    what = (
        f"differs from the state: {', '.join(attributes)}"
        if attributes
        else "does not filter, forward and serve as it was configured to"
    )
    return Violation(ViolationKind.ROUTER, (where,), f"{where} on {host} {what}")


def restricted_to(verification: Verification, declared: Declared, slices: Collection[str]) -> Verification:
    """Return the part that concerns some slices: pairs with a station of theirs, and all trunks and routers."""
    inside = {where for where, station in declared.stations.items() if station.slice in slices}
    outside = declared.graph.number_of_nodes() - len(inside)
    pairs = len(inside) * (len(inside) - 1) // 2 + len(inside) * outside
    edges = sum(1 for edge in declared.graph.edges if inside & {*edge})
    whole = {ViolationKind.TRUNK, ViolationKind.ROUTER}
    kept = [one for one in verification.violations if one.kind in whole or inside & {*one.ends}]
    leaks = sum(one.kind is ViolationKind.LEAK and all(end in declared.stations for end in one.ends) for one in kept)
    missing = sum(one.kind is ViolationKind.MISSING for one in kept)
    return Verification(edges - missing, pairs - edges - leaks, verification.dropped, tuple(kept))


def _arrivals(declared: Declared, switches: Switches, frame_exits: FrameExits) -> Iterator[_Arrival]:
    """Yield every frame that is delivered; the bridge's own port is ignored, because no host has an interface there."""
    for probe, exits in frame_exits.items():
        switch = switches[probe.host]
        ports = {port.name: port for port in switch.ports}
        known = {switch.bridge, switch.trunk.name if switch.trunk is not None else ""}
        for left in exits:
            if left.port in ports:
                end = origin_of(declared, ports[left.port])
                yield _Arrival(probe, end, (*probe.way, _delivery(ports[left.port])))
            elif left.port not in known:
                end = f"the interface {left.port} of {probe.host}, which is not one of its ports"
                yield _Arrival(probe, end, (*probe.way, f"out of {left.port} of {probe.host}"))


def _delivery(port: LivePort) -> str:
    vlan = "every VLAN" if port.tag is None else f"VLAN {port.tag}"
    return f"out of {port.name} of {port.host} on {vlan}"


def _live_graph(declared: Declared, arrivals: Iterable[_Arrival]) -> nx.DiGraph[str]:
    """Build the graph of stations that reach each other; each edge has one path that a frame takes."""
    live: nx.DiGraph[str] = nx.DiGraph()
    live.add_nodes_from(declared.graph)
    for arrival in arrivals:
        if not arrival.probe.frame.kind.forged and not live.has_edge(arrival.probe.origin, arrival.end):
            live.add_edge(arrival.probe.origin, arrival.end, path=arrival.path)
    return live


def _leaks(declared: Declared, live: nx.DiGraph[str]) -> Iterator[Violation]:
    seen = set()
    for one, other in live.edges:
        ends = tuple(sorted((one, other)))
        if one == other or ends in seen or declared.graph.has_edge(Address(one), Address(other)):
            continue
        seen.add(ends)
        yield Violation(ViolationKind.LEAK, ends, f"{one} reaches {other}", live.edges[one, other]["path"])


def _missing(
    declared: Declared, live: nx.DiGraph[str], frame_exits: FrameExits, arrivals: Iterable[_Arrival]
) -> Iterator[Violation]:
    """Yield the declared pairs of which one does not receive the other's broadcasts, or frames to its own MAC."""
    received = {(one.probe.origin, one.end) for one in arrivals if one.probe.frame.kind is FrameKind.KNOWN}
    sent = {(probe.origin, probe.target) for probe in frame_exits if probe.frame.kind is FrameKind.KNOWN}
    for edge in declared.graph.edges:
        one, other = sorted(edge)
        for sender, receiver in ((one, other), (other, one)):
            if not live.has_edge(sender, receiver):
                kind = FrameKind.BROADCAST
            elif (sender, receiver) in sent - received:
                kind = FrameKind.KNOWN
            else:
                continue
            message = f"{sender} does not reach {receiver} by {kind}"
            yield Violation(ViolationKind.MISSING, (one, other), message, _last_path(sender, kind, frame_exits))
            break


def _last_path(sender: str, kind: FrameKind, frame_exits: FrameExits) -> tuple[str, ...]:
    """Return how far a sender's frames get: the longest path, and the ports that they leave by last."""
    sent = [probe for probe in frame_exits if (probe.origin, probe.frame.kind) == (sender, kind)]
    if not sent:
        return (f"{sender} has no port on its switch",)
    last = max(sent, key=lambda probe: len(probe.path))
    exits = ", ".join(one.port for one in frame_exits[last])
    return (*last.way, f"there {f'out of {exits} only' if exits else 'dropped'}")


def _forged(switches: Switches, frame_exits: FrameExits, arrivals: Iterable[_Arrival]) -> Iterator[Violation]:
    """Yield each forged frame that is delivered or sent out on the trunk, once, with the path to its first end."""
    passed: dict[tuple[str, str, FrameKind], Violation] = {}
    for one in arrivals:
        if one.probe.frame.kind.forged:
            _add_forged(passed, one.probe, one.end, one.path)
    for probe, exits in frame_exits.items():
        trunk = switches[probe.host].trunk
        if probe.frame.kind.forged and trunk is not None and any(left.port == trunk.name for left in exits):
            way = f"out of trunk {trunk.name} of {probe.host}"
            _add_forged(passed, probe, f"the trunk {trunk.name} of {probe.host}", (*probe.way, way))
    yield from passed.values()


def _add_forged(
    passed: dict[tuple[str, str, FrameKind], Violation], probe: Probe, end: str, path: tuple[str, ...]
) -> None:
    kind, host = probe.frame.kind, ""
    message = f"{kind}, sent by {probe.origin}, reaches {end}"
    if kind is FrameKind.UNEXPECTED:
        host = probe.host
        message = f"{kind} of {host} reaches {end}: {host} accepts frames that the gateway has not sent"
    passed.setdefault((probe.origin, host, kind), Violation(ViolationKind.FORGED, (probe.origin, end), message, path))


def _trunks(declared: Declared, switches: Switches) -> Iterator[Violation]:
    for host in sorted(switches):
        trunk = switches[host].trunk
        wanted: frozenset[int] = frozenset(declared.carried.get(host, ()))
        name = f"the trunk of {host}" if trunk is None else f"the trunk {trunk.name} of {host}"
        if trunk is None:
            if wanted:
                yield Violation(ViolationKind.TRUNK, (name,), f"{name} is not on its bridge")
            continue
        if trunk.tag is not None or not trunk.trunks:
            what = "every VLAN" if trunk.tag is None else f"only VLAN {trunk.tag}, untagged"
            if wanted:
                yield Violation(ViolationKind.TRUNK, (name,), f"{name} carries {what}")
            continue
        for vlan in sorted((trunk.trunks & declared.vlans) - wanted - {PARKING_VLAN}):
            message = f"{name} carries VLAN {vlan}, which nothing on {host} needs"
            yield Violation(ViolationKind.TRUNK, (name,), message)
        for vlan in sorted(wanted - trunk.trunks):
            yield Violation(ViolationKind.TRUNK, (name,), f"{name} does not carry VLAN {vlan}")
