"""Whether the graph that frames can walk is the declared one, and each difference with the path of such a frame."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import networkx as nx

from reconciler.spec.models.cluster import PARKING_VLAN
from reconciler.spec.models.names import Address, HostName
from reconciler.verify.declared import Declared
from reconciler.verify.frames import Exit, Probe, Sort
from reconciler.verify.live import Switches, origin_of

if TYPE_CHECKING:
    from reconciler.verify.live import LivePort

Outcomes = Mapping[Probe, Sequence[Exit]]
"""Where the frame of each question comes out, of all switches that it meets."""


class ViolationKind(StrEnum):
    """How the live network differs from the declared one."""

    MISSING = "missing path"
    LEAK = "undeclared path"
    FORGED = "forged frame let through"
    TRUNK = "trunk"
    ROUTER = "router"
    IMPOSTOR = "impostor"


@dataclass(frozen=True, slots=True)
class Violation:
    """One difference: what it is between, in words, and the way that a frame takes, hop by hop."""

    kind: ViolationKind
    ends: tuple[str, ...]
    words: str
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Write it on one line."""
        way = f" ({', then '.join(self.path)})" if self.path else ""
        return f"{self.kind}: {self.words}{way}"


@dataclass(frozen=True, slots=True)
class Routed:
    """What was shown of packets through routers: declared pairs that pass, and undeclared ones that do not."""

    present: int = 0
    absent: int = 0


@dataclass(frozen=True, slots=True)
class Probed:
    """What guests said when they were asked: how many answer under their own MAC alone, and which do not answer."""

    answered: int
    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """What was shown: declared pairs that reach each other, undeclared ones that do not, forged frames dropped.

    `routed` counts ordered pairs of what packets enter by: segments, the internet VLAN, and the outside. `probed` is
    None where guests were not asked.
    """

    present: int
    absent: int
    dropped: int
    violations: tuple[Violation, ...]
    routed: Routed = Routed()
    probed: Probed | None = None

    @property
    def proved(self) -> bool:
        """Whether nothing is otherwise than declared, and whoever was asked has answered."""
        return not self.violations and not (self.probed and self.probed.silent)


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A frame that came out of a port which is no trunk between hosts."""

    probe: Probe
    end: str
    path: tuple[str, ...]


def prove(declared: Declared, switches: Switches, outcomes: Outcomes) -> Proof:
    """Compare what frames reach with what is declared; pairs are counted once, whichever way round."""
    arrivals = [*_arrivals(declared, switches, outcomes)]
    live = _live_graph(declared, arrivals)
    leaks = [*_leaks(declared, live)]
    missing = [*_missing(declared, live, outcomes, arrivals)]
    forged = [*_forged(switches, outcomes, arrivals)]
    between = {violation.ends for violation in leaks if all(end in declared.stations for end in violation.ends)}
    asked = [probe for probe in outcomes if probe.frame.sort.forged and not probe.path]
    return Proof(
        present=declared.graph.number_of_edges() - len(missing),
        absent=declared.undeclared - len(between),
        dropped=len(asked) - len(forged),
        violations=(*missing, *leaks, *forged, *_trunks(declared, switches)),
    )


def unsound(where: Address, host: HostName, amiss: Collection[str]) -> Violation:
    """Return the violation of a router, a segment or the uplink that is not as recorded; `amiss` names attributes."""
    what = (
        f"is not as recorded: {', '.join(amiss)}" if amiss else "does not filter, forward and serve as it was made to"
    )
    return Violation(ViolationKind.ROUTER, (where,), f"{where} on {host} {what}")


def concerning(proof: Proof, declared: Declared, slices: Collection[str]) -> Proof:
    """Return the part of a proof that concerns some slices: pairs with a station of theirs, trunks and routers."""
    inside = {where for where, station in declared.stations.items() if station.slice in slices}
    outside = declared.graph.number_of_nodes() - len(inside)
    pairs = len(inside) * (len(inside) - 1) // 2 + len(inside) * outside
    edges = sum(1 for edge in declared.graph.edges if inside & {*edge})
    whole = {ViolationKind.TRUNK, ViolationKind.ROUTER}
    kept = [one for one in proof.violations if one.kind in whole or inside & {*one.ends}]
    leaks = sum(one.kind is ViolationKind.LEAK and all(end in declared.stations for end in one.ends) for one in kept)
    missing = sum(one.kind is ViolationKind.MISSING for one in kept)
    return Proof(edges - missing, pairs - edges - leaks, proof.dropped, tuple(kept))


def _arrivals(declared: Declared, switches: Switches, outcomes: Outcomes) -> Iterator[_Arrival]:
    """Yield every frame that is delivered; the bridge's own port is no station, for no host has an interface there."""
    for probe, exits in outcomes.items():
        switch = switches[probe.host]
        ports = {port.name: port for port in switch.ports}
        known = {switch.bridge, switch.trunk.name if switch.trunk is not None else ""}
        for left in exits:
            if left.port in ports:
                end = origin_of(declared, ports[left.port])
                yield _Arrival(probe, end, (*probe.way, _delivery(ports[left.port])))
            elif left.port not in known:
                end = f"the interface {left.port} of {probe.host}, which is no port of its own"
                yield _Arrival(probe, end, (*probe.way, f"out of {left.port} of {probe.host}"))


def _delivery(port: LivePort) -> str:
    vlan = "every VLAN" if port.tag is None else f"VLAN {port.tag}"
    return f"out of {port.name} of {port.host} on {vlan}"


def _live_graph(declared: Declared, arrivals: Iterable[_Arrival]) -> nx.DiGraph[str]:
    """Build the graph of who hears whom; each edge bears one of the paths that lead there."""
    live: nx.DiGraph[str] = nx.DiGraph()
    live.add_nodes_from(declared.graph)
    for arrival in arrivals:
        if not arrival.probe.frame.sort.forged and not live.has_edge(arrival.probe.origin, arrival.end):
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
    declared: Declared, live: nx.DiGraph[str], outcomes: Outcomes, arrivals: Iterable[_Arrival]
) -> Iterator[Violation]:
    """Yield the declared pairs of which one does not hear the other, or not what is sent to its own MAC."""
    heard = {(one.probe.origin, one.end) for one in arrivals if one.probe.frame.sort is Sort.KNOWN}
    aimed = {(probe.origin, probe.target) for probe in outcomes if probe.frame.sort is Sort.KNOWN}
    for edge in declared.graph.edges:
        one, other = sorted(edge)
        for sender, receiver in ((one, other), (other, one)):
            if not live.has_edge(sender, receiver):
                sort = Sort.BROADCAST
            elif (sender, receiver) in aimed - heard:
                sort = Sort.KNOWN
            else:
                continue
            words = f"{sender} does not reach {receiver} by {sort}"
            yield Violation(ViolationKind.MISSING, (one, other), words, _last_path(sender, sort, outcomes))
            break


def _last_path(sender: str, sort: Sort, outcomes: Outcomes) -> tuple[str, ...]:
    """Say how far a sender's frames come: the longest way, and where they come out last."""
    sent = [probe for probe in outcomes if (probe.origin, probe.frame.sort) == (sender, sort)]
    if not sent:
        return (f"{sender} has no port on its switch",)
    last = max(sent, key=lambda probe: len(probe.path))
    exits = ", ".join(one.port for one in outcomes[last])
    return (*last.way, f"there {f'out of {exits} alone' if exits else 'dropped'}")


def _forged(switches: Switches, outcomes: Outcomes, arrivals: Iterable[_Arrival]) -> Iterator[Violation]:
    """Yield each forged frame that is delivered, or let out onto the trunk: once, with the way to its first end."""
    passed: dict[tuple[str, str, Sort], Violation] = {}
    for one in arrivals:
        if one.probe.frame.sort.forged:
            _note(passed, one.probe, one.end, one.path)
    for probe, exits in outcomes.items():
        trunk = switches[probe.host].trunk
        if probe.frame.sort.forged and trunk is not None and any(left.port == trunk.name for left in exits):
            way = f"out of trunk {trunk.name} of {probe.host}"
            _note(passed, probe, f"the trunk {trunk.name} of {probe.host}", (*probe.way, way))
    yield from passed.values()


def _note(passed: dict[tuple[str, str, Sort], Violation], probe: Probe, end: str, path: tuple[str, ...]) -> None:
    sort, host = probe.frame.sort, ""
    words = f"{sort} of {probe.origin} reaches {end}"
    if sort is Sort.INTRUDING:
        host = probe.host
        words = f"{sort} of {host} reaches {end}: {host} lets in what the gateway has not sent"
    passed.setdefault((probe.origin, host, sort), Violation(ViolationKind.FORGED, (probe.origin, end), words, path))


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
            what = "every VLAN" if trunk.tag is None else f"VLAN {trunk.tag} alone, without a tag"
            if wanted:
                yield Violation(ViolationKind.TRUNK, (name,), f"{name} carries {what}")
            continue
        for vlan in sorted((trunk.trunks & declared.vlans) - wanted - {PARKING_VLAN}):
            words = f"{name} carries VLAN {vlan}, which nothing on {host} needs"
            yield Violation(ViolationKind.TRUNK, (name,), words)
        for vlan in sorted(wanted - trunk.trunks):
            yield Violation(ViolationKind.TRUNK, (name,), f"{name} does not carry VLAN {vlan}")
