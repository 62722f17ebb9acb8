"""Lists the guests that must reply to ARP, and checks that each reply comes from the guest's own MAC only."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.plan.resources import StationRole
from reconciler.spec.models.names import Address, HostName
from reconciler.verify.declared import Declared
from reconciler.verify.verification import Probed, Violation, ViolationKind


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A NIC that a router asks for by ARP: its address on the router's interface, and the MAC that must reply."""

    port: Address
    host: HostName
    namespace: str
    interface: str
    router: str
    ip: str
    mac: str


def neighbours(declared: Declared, scope: Collection[str] | None = None) -> tuple[Neighbour, ...]:
    """Return the NICs to ask for, of some slices or of all: each NIC with a known address, at its router."""
    return tuple(one for one in _neighbours(declared) if scope is None or declared.stations[one.port].slice in scope)


def check_replies(
    asked: Sequence[Neighbour], replies: Mapping[Neighbour, frozenset[str]]
) -> tuple[Probed, tuple[Violation, ...]]:
    """Return how many NICs replied, which are silent, and a violation for each reply from another MAC."""
    wrong_replies = tuple(_wrong_replies(asked, replies))
    silent = tuple(f"{one.port} ({one.ip})" for one in asked if not replies[one])
    own = sum(replies[one] == {one.mac} for one in asked)
    return Probed(own, silent), wrong_replies


def _neighbours(declared: Declared) -> Iterator[Neighbour]:
    guests = [one for _, one in sorted(declared.stations.items()) if one.role is StationRole.GUEST]
    by_mac = {one.mac: one.address for one in guests}
    for where, station in sorted(declared.stations.items()):
        at = (station.host, station.namespace, station.interface, station.ip or "")
        for mac, ip in station.leases:
            if mac in by_mac:
                yield Neighbour(by_mac[mac], *at, ip, mac)
        if station.role is StationRole.GATEWAY:
            for guest in guests:
                if guest.ip is not None and guest.mac is not None and declared.graph.has_edge(where, guest.address):
                    yield Neighbour(guest.address, *at, guest.ip, guest.mac)


def _wrong_replies(asked: Sequence[Neighbour], replies: Mapping[Neighbour, frozenset[str]]) -> Iterator[Violation]:
    for one in asked:
        for mac in sorted(replies[one] - {one.mac}):
            message = f"{mac} replies for {one.ip}, the address of {one.port}"
            way = (f"an ARP request from {one.interface} of {one.host}", f"a reply from {mac} instead of {one.mac}")
            yield Violation(ViolationKind.IMPOSTOR, (one.port, mac), message, way)
