"""Parses a network namespace (interfaces, routes, rules) and computes where its kernel would send a packet.

The JSON is the output of `ip -j -d`. Anything unknown counts as the worst case: a packet may then take every route.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from reconciler.verify.rules import Known, Packet, Ruleset, parse_rules

_KINDS: Final = {"unicast", "local", "broadcast", "multicast", "unreachable", "blackhole", "prohibit", "throw"}
_REFUSALS: Final = {"unreachable", "blackhole", "prohibit"}
_PLAIN_RULE: Final = {"priority", "src", "srclen", "dst", "dstlen", "iif", "table", "protocol", "action"}


class Inside(StrEnum):
    """The destination of a packet that leaves by no interface."""

    HERE = "the host itself"
    NOWHERE = "nowhere"


Hop = str | Inside
"""The interface that a packet leaves by, or its destination if it leaves by none."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface; `link` is the index of the other end of a veth, or of the interface below.

    `lower` is the name of that interface if it is in the same namespace; else `space` may be the number that this
    namespace has for the other one. `master` is the bridge or switch that this one belongs to. `vlan` is the VLAN of a
    VLAN interface, else None.
    """

    name: str
    index: int
    kind: str
    up: bool
    link: int | None
    lower: str | None
    space: int | None
    master: str | None
    vlan: int | None
    addresses: tuple[IPv4Address, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """A route: destination, metric, type, the interfaces that it leads out of, and whether it needs no gateway."""

    to: IPv4Network
    metric: int
    kind: str
    out: tuple[str, ...]
    connected: bool = False


@dataclass(frozen=True, slots=True)
class Namespace:
    """One network namespace of a host; the host's own has an empty name, one that has no name the path to it.

    IPv4 packets that enter by an interface of `forwarding` are forwarded. The interfaces of `ipv6` have IPv6 enabled.
    `spaces` are the names of other namespaces by the numbers that this one has for them, where they are known.
    """

    name: str
    interfaces: Mapping[str, Interface]
    routes: Mapping[str, Sequence[Route]]
    policy: Sequence[Mapping[str, Any]]
    ruleset: Ruleset
    forwarding: frozenset[str]
    ipv6: frozenset[str]
    forwards_ipv6: bool
    spaces: Mapping[int, str] | None = None
    _known: dict[tuple[IPv4Address | None, str | None, IPv4Address | None], frozenset[Hop]] = field(
        default_factory=dict, compare=False
    )

    def __str__(self) -> str:
        """Return a description for messages."""
        if not self.name:
            return "the host's own namespace"
        return f"the unnamed namespace {self.name}" if self.unnamed else f"the namespace {self.name}"

    @property
    def unnamed(self) -> bool:
        """Whether it has no name in /run/netns, and is not the host's own."""
        return self.name.startswith("/")

    def forwards(self, packet: Packet) -> bool:
        """Whether an incoming packet is forwarded at all."""
        if packet.version == 4:  # noqa: PLR2004
            return packet.inward in self.forwarding
        return self.forwards_ipv6 and packet.inward in self.ipv6

    def hops(self, packet: Packet) -> frozenset[Hop]:
        """Return every hop that a packet may take, by the policy rules and the routing tables that they name."""
        if packet.version != 4:  # noqa: PLR2004
            return frozenset(self.ipv6 - {packet.inward or ""})
        simple = all(rule.keys() <= {"priority", "src", "table", "protocol"} for rule in self.policy)
        key = (packet.target, None, None) if simple else (packet.target, packet.inward, packet.source)
        if key not in self._known:
            self._known[key] = frozenset(self._hops(packet))
        return self._known[key]

    def _hops(self, packet: Packet) -> Iterator[Hop]:
        for rule in self.policy:
            known = _applies(rule, packet)
            if known is False:
                continue
            if known is None or "table" not in rule:
                yield from self._all_hops()
                continue
            found = self._look_up(self.routes.get(str(rule["table"]), ()), packet.target)
            yield from found
            if found and packet.target is not None:
                return
        yield Inside.NOWHERE

    def _look_up(self, routes: Iterable[Route], target: IPv4Address | None) -> frozenset[Hop]:
        fitting = [route for route in routes if target is None or target in route.to]
        if target is not None and fitting:
            best = max((route.to.prefixlen, -route.metric) for route in fitting)
            fitting = [route for route in fitting if (route.to.prefixlen, -route.metric) == best]
        return frozenset(hop for route in fitting for hop in _hops_of(route))

    def _all_hops(self) -> Iterator[Hop]:
        yield Inside.NOWHERE
        for routes in self.routes.values():
            for route in routes:
                yield from _hops_of(route)


def parse_namespace(
    name: str,
    rules: str,
    network: str,
    settings: Mapping[str, tuple[bool, bool]],
    forwards_ipv6: bool,
    chains: str = "",
) -> Namespace:
    """Parse the printed form of a namespace; raises ValueError if it is malformed."""
    try:
        links, addressed, routes, policy = _documents(network)
        addresses = {entry["ifname"]: _addresses(entry) for entry in addressed if "ifname" in entry}
        tables: dict[str, list[Route]] = {}
        for entry in routes:
            tables.setdefault(str(entry.get("table", "main")), []).append(_route(entry))
        return Namespace(
            name=name,
            interfaces={entry["ifname"]: _interface(entry, addresses) for entry in links},
            routes=tables,
            policy=sorted(policy, key=lambda rule: int(rule.get("priority", 0))),
            ruleset=parse_rules(rules, chains),
            forwarding=frozenset(one for one, (forwards, _) in settings.items() if forwards),
            ipv6=frozenset(one for one, (_, without) in settings.items() if not without) - {"all", "default", "lo"},
            forwards_ipv6=forwards_ipv6,
        )
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"unexpected output of ip: {error}"
        raise ValueError(msg) from error


def parse_unnamed(path: str, network: str) -> Namespace:
    """Parse the printed links of a namespace without a name; raises ValueError if they are malformed."""
    try:
        links, others = _documents(network)
        interfaces = {entry["ifname"]: _interface(entry, {}) for entry in links}
        spaces = {int(entry["nsid"]): str(entry.get("name", "")) for entry in others}
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"unexpected output of ip: {error}"
        raise ValueError(msg) from error
    nothing = parse_rules("")
    return Namespace(path, interfaces, {}, (), nothing, frozenset(), frozenset(), forwards_ipv6=False, spaces=spaces)


def _documents(text: str) -> list[list[dict[str, Any]]]:
    found, at, decoder = [], 0, json.JSONDecoder()
    while at < len(text):
        document, at = decoder.raw_decode(text, at)
        found.append(document)
        at += len(text[at:]) - len(text[at:].lstrip())
    return found


def _addresses(entry: Mapping[str, Any]) -> tuple[IPv4Address, ...]:
    return tuple(IPv4Address(one["local"]) for one in entry["addr_info"] if one.get("family") == "inet")


def _interface(entry: Mapping[str, Any], addresses: Mapping[str, tuple[IPv4Address, ...]]) -> Interface:
    info = entry.get("linkinfo", {})
    return Interface(
        name=str(entry["ifname"]),
        index=int(entry["ifindex"]),
        kind=str(info.get("info_kind", "")),
        up="UP" in entry["flags"],
        link=entry.get("link_index"),
        lower=entry.get("link"),
        space=entry.get("link_netnsid"),
        master=entry.get("master"),
        vlan=info.get("info_data", {}).get("id") if info.get("info_kind") == "vlan" else None,
        addresses=addresses.get(entry["ifname"], ()),
    )


def _route(entry: Mapping[str, Any]) -> Route:
    to = "0.0.0.0/0" if entry["dst"] == "default" else str(entry["dst"])
    out = [entry["dev"]] if "dev" in entry else [one["dev"] for one in entry.get("nexthops", ()) if "dev" in one]
    connected = entry.get("scope") == "link" and to != "0.0.0.0/0"
    kind = str(entry.get("type", "unicast"))
    return Route(IPv4Network(to), int(entry.get("metric", 0)), kind, tuple(out), connected)


def _hops_of(route: Route) -> Iterator[Hop]:
    if route.kind == "unicast" or route.kind not in _KINDS:
        yield from route.out
    elif route.kind in _REFUSALS:
        yield Inside.NOWHERE
    elif route.kind != "throw":
        yield Inside.HERE


def _applies(rule: Mapping[str, Any], packet: Packet) -> Known:
    """Return whether a policy rule applies to a packet; None if it matches on more than addresses and interface."""
    if not rule.keys() <= _PLAIN_RULE:
        return None
    if "iif" in rule and rule["iif"] != packet.inward:
        return False
    answers = {
        _within(rule.get("src", "all"), rule.get("srclen", 32), packet.source),
        _within(rule.get("dst", "all"), rule.get("dstlen", 32), packet.target),
    }
    return False if False in answers else None if None in answers else True


def _within(start: str, length: int, address: IPv4Address | None) -> Known:
    if start == "all":
        return True
    return None if address is None else address in IPv4Network((start, length), strict=False)
