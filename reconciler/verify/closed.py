"""Checks, by routes and rules, that guests of the internet VLAN reach no host and no network that is closed to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from reconciler.plan.resources import Station
from reconciler.spec.models.cluster import PRIVATE
from reconciler.spec.models.names import Address, HostName
from reconciler.verify.declared import Declared
from reconciler.verify.packets import Network, entrances, onward_path
from reconciler.verify.verification import Violation, ViolationKind

_METADATA: Final = ("169.254.169.254", "168.63.129.16", "100.100.100.200")
_SAMPLES: Final = 64  # addresses of a network to choose one from


def open_to_guests(declared: Declared, live: Mapping[HostName, Network]) -> Iterator[Violation]:
    """Yield each closed address that a packet from the internet VLAN may be sent on to.

    Closed are the addresses of hosts, those that they have now and those of the cluster file; metadata services; and
    private networks and connected networks of hosts, but for those that the cluster file opens.
    """
    for entrance in entrances(declared):
        if not entrance.apart:
            continue
        for target, what in sorted(_closed(declared.stations[Address(entrance.end)], live).items()):
            way = onward_path(live[entrance.host], entrance, target)
            if way is not None:
                message = f"packets from {entrance.end} reach {target}, {what}"
                yield Violation(ViolationKind.LEAK, (entrance.end, what), message, way)


def _closed(gateway: Station, live: Mapping[HostName, Network]) -> dict[IPv4Address, str]:
    """Return one address of everything that is closed to guests, with what it is."""
    opened = [*map(IPv4Network, gateway.opened)]
    hosts = [*map(IPv4Address, gateway.closed)]
    found = dict.fromkeys(hosts, "a host's address in the cluster file")
    for host, network in live.items():
        what = f"an address of {host} (close it by naming it under its `addresses` in the cluster file)"
        found |= {one: what for one in _addresses(network) if one not in found}
    found |= {IPv4Address(one): "a metadata service of clouds" for one in _METADATA}
    for space in live[gateway.host].namespaces:
        for route in (each for routes in space.routes.values() for each in routes if not space.name):
            if route.connected and any(one in route.to for one in hosts):
                found |= _sample(route.to, opened, f"in {route.to}, the network of hosts", found)
    for private in PRIVATE:
        found |= _sample(private, opened, f"in the private network {private}, which is not open", found)
    return found


def _addresses(network: Network) -> Iterator[IPv4Address]:
    for space in network.namespaces:
        for interface in space.interfaces.values():
            yield from (one for one in interface.addresses if not space.name and not one.is_loopback)


def _sample(
    network: IPv4Network, opened: Iterable[IPv4Network], what: str, but: Mapping[IPv4Address, str]
) -> dict[IPv4Address, str]:
    """Return an address of a network that is not open and not in `but`; none if all of the network is open."""
    parts = [network]
    for one in opened:
        parts = [rest for part in parts for rest in _without(part, one)]
    for part in parts:
        for at in range(min(part.num_addresses, _SAMPLES)):
            if part[at] not in but:
                return {part[at]: what}
    return {}


def _without(network: IPv4Network, one: IPv4Network) -> Iterator[IPv4Network]:
    if network.subnet_of(one):
        return
    yield from network.address_exclude(one) if one.subnet_of(network) else (network,)
