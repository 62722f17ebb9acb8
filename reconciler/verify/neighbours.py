"""Which guests must answer where, and what their answers prove: each under its own MAC, and nobody else; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.plan.resources import Port, Segment, Uplink
from reconciler.spec.models.names import Address, HostName
from reconciler.verify.declared import Declared
from reconciler.verify.proof import Probed, Violation, ViolationKind


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A network card that is asked for at a router's interface: its address there, and the MAC that must answer."""

    port: Address
    host: HostName
    namespace: str
    interface: str
    router: str
    ip: str
    mac: str


def neighbours(declared: Declared, scope: Collection[str] | None = None) -> tuple[Neighbour, ...]:
    """Return whom to ask for, of some slices or of all: each card that an address is kept for, at its router."""
    return tuple(one for one in _neighbours(declared) if scope is None or declared.stations[one.port].slice in scope)


def judge(
    asked: Sequence[Neighbour], answers: Mapping[Neighbour, frozenset[str]]
) -> tuple[Probed, tuple[Violation, ...]]:
    """Tell who answered, who is silent, and which answers came from another's MAC."""
    strange = tuple(_strange(asked, answers))
    silent = tuple(f"{one.port} ({one.ip})" for one in asked if not answers[one])
    own = sum(answers[one] == {one.mac} for one in asked)
    return Probed(own, silent), strange


def _neighbours(declared: Declared) -> Iterator[Neighbour]:
    ports = [one for _, one in sorted(declared.stations.items()) if isinstance(one, Port)]
    by_mac = {one.mac: one.address for one in ports}
    for where, station in sorted(declared.stations.items()):
        if isinstance(station, Segment):
            router = station.ip.partition("/")[0]
            for lease in station.leases:
                if lease.mac in by_mac:
                    at = (station.host, station.namespace, station.interface, router)
                    yield Neighbour(by_mac[lease.mac], *at, lease.ip, lease.mac)
        elif isinstance(station, Uplink):
            router = station.ip.partition("/")[0]
            for port in ports:
                if port.ip is not None and declared.graph.has_edge(where, port.address):
                    yield Neighbour(port.address, station.host, "", station.interface, router, port.ip, port.mac)


def _strange(asked: Sequence[Neighbour], answers: Mapping[Neighbour, frozenset[str]]) -> Iterator[Violation]:
    for one in asked:
        for mac in sorted(answers[one] - {one.mac}):
            words = f"{mac} answers for {one.ip}, which is {one.port}'s"
            way = (f"asked by ARP from {one.interface} of {one.host}", f"an answer from {mac} and not from {one.mac}")
            yield Violation(ViolationKind.IMPOSTOR, (one.port, mac), words, way)
