"""Evaluates the nftables rules of a namespace, as printed by `nft -j list ruleset`, for one packet.

Anything unknown counts as the worst case: a match may hold or not, and a statement may accept or drop. The JSON is
described in libnftables-json(5).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

Known = bool | None
"""Whether a match holds: True, False, or None if that is unknown."""

_Key = tuple[str, str, str]
"""The family, table and name of a chain or a set."""

_FAMILIES: Final = {4: ("inet", "ip"), 6: ("inet", "ip6")}
_STATE: Final = "new"
"""The connection state of followed packets: replies to an accepted packet are accepted as well."""

_FEW_CONNECTIONS: Final = 16
"""A sender has no fewer at once: the limit of the cluster file is no smaller, and a smaller one closes a path."""

_ABSENT: Final = "no such header"
_UNSURE: Final = frozenset({"limit", "quota", "connlimit", "ct count"})
_QUIET: Final = frozenset({"counter", "log", "continue", "notrack", "ct helper", "ct timeout", "flow", "set", "last"})
_CHAINS: Final = re.compile(
    r"table (?P<family>\S+) (?P<table>\S+) \{"
    r"|chain (?P<chain>\S+) \{\s*type \S+ hook \S+ devices?(?P<devices> [^ ={]+| = \{[^}]*\}) priority"
)
_ADDRESSES: Final = frozenset({("ip", "daddr"), ("ip6", "daddr")})


class End(StrEnum):
    """The result of a rule or chain: `NEXT` continues with the next rule, `BACK` returns to the calling chain."""

    ACCEPT = "accept"
    DROP = "drop"
    NEXT = "next"
    BACK = "back"


_ON: Final = frozenset({End.NEXT})
_ANY: Final = frozenset(End)
_VERDICTS: Final = {
    "accept": End.ACCEPT,
    "snat": End.ACCEPT,
    "masquerade": End.ACCEPT,
    "drop": End.DROP,
    "reject": End.DROP,
    "redirect": End.DROP,  # redirect and tproxy deliver the packet to the host itself
    "tproxy": End.DROP,
    "return": End.BACK,
}


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection, at one of the kernel's hooks.

    `inward` and `outward` are the interfaces that it enters and leaves by, None if the hook has none. An address of
    None is any address, chosen by the sender; so is every field that is not modelled. Routes use `target` as it is.
    Rules treat it as any address unless `exact` is set. `version` is the IP version; IPv6 packets have no addresses.
    """

    inward: str | None
    outward: str | None
    source: IPv4Address | None
    target: IPv4Address | None
    version: int = 4
    exact: bool = False


@dataclass(slots=True)
class PacketVerdict:
    """The result of a hook: whether a packet may pass, whether it may be dropped, and which chains may drop it.

    `targets` has the addresses that it may be redirected to, None for any. `copies` has the interfaces that it may be
    copied to.
    """

    passes: bool = True
    drops: bool = False
    stops: list[str] = field(default_factory=list)
    targets: set[IPv4Address | None] = field(default_factory=set)
    copies: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain with its rules; `hook`, `policy` and `devices` are empty for a chain that others jump to."""

    family: str
    table: str
    name: str
    hook: str | None
    policy: str
    devices: frozenset[str]
    rules: list[list[Mapping[str, Any]]]

    def __str__(self) -> str:
        """Return the name as nft writes it."""
        return f"{self.family} {self.table} {self.name}"


class Ruleset:
    """All tables of one namespace, by any owner."""

    def __init__(self, chains: Mapping[_Key, Chain], sets: Mapping[_Key, Sequence[Any]]) -> None:
        self.chains = chains
        self._sets = sets
        self._base: dict[str, list[Chain]] = {}
        for chain in chains.values():
            if chain.hook is not None:
                self._base.setdefault(chain.hook, []).append(chain)

    def hooks(self) -> Iterator[tuple[Chain, str]]:
        """Yield each chain that is attached to a device, by the name of the device."""
        for chain in self.chains.values():
            yield from ((chain, device) for device in sorted(chain.devices))

    def members(self, family: str, table: str, name: str) -> Sequence[Any] | None:
        """Return the elements of a named set, or None if there is no such set."""
        return self._sets.get((family, table, name))

    def verdict(self, hook: str, packet: Packet) -> PacketVerdict:
        """Return the verdict on a packet at a hook: it must pass every base chain there, in any order."""
        verdict = PacketVerdict()
        passage = _Passage(self, packet, verdict)
        for chain in self._base.get(hook, ()):
            if not _applies(chain, hook, packet):
                continue
            ends = passage.through(chain)
            if End.BACK in ends:
                ends = ends - {End.BACK} | {End(chain.policy)}
            verdict.passes &= End.ACCEPT in ends
            verdict.drops |= End.DROP in ends
            if End.DROP in ends:
                verdict.stops.append(str(chain))
        return verdict


def _applies(chain: Chain, hook: str, packet: Packet) -> bool:
    if chain.devices:
        return (packet.outward if hook == "egress" else packet.inward) in chain.devices
    return chain.family in _FAMILIES[packet.version]


@dataclass(slots=True)
class _Passage:
    """One packet's evaluation by the chains of one hook."""

    ruleset: Ruleset
    packet: Packet
    verdict: PacketVerdict
    been: dict[_Key, frozenset[End]] = field(default_factory=dict)

    def through(self, chain: Chain) -> frozenset[End]:
        """Return every result that a chain may have for the packet; a chain that reaches itself may have any."""
        key = (chain.family, chain.table, chain.name)
        if key not in self.been:
            self.been[key] = _ANY
            self.been[key] = self._through(chain)
        return self.been[key]

    def _through(self, chain: Chain) -> frozenset[End]:
        ends: set[End] = set()
        for rule in chain.rules:
            reached = self._apply(chain, rule)
            ends |= reached - _ON
            if End.NEXT not in reached:
                return frozenset(ends)
        return frozenset(ends | {End.BACK})

    def _apply(self, chain: Chain, rule: Iterable[Mapping[str, Any]]) -> frozenset[End]:
        certain, spare = True, False
        for statement in rule:
            ((kind, value),) = statement.items()
            spare = spare or _counts_connections(kind, value)
            if kind == "match":
                known = self._holds(chain, value)
                if known is False:
                    return _ON
                certain = certain and known is True
            elif kind in _UNSURE:
                certain = False
            elif not _harmless(kind, value):
                reached = self._verdict(chain, kind, value)
                if reached != _ON and not (spare and reached == {End.DROP}):
                    return reached if certain else reached | _ON
        return _ON

    def _verdict(self, chain: Chain, kind: str, value: Any) -> frozenset[End]:
        """Return the results of a statement that ends the evaluation of the chain or redirects the packet."""
        if kind in _VERDICTS:
            return frozenset({_VERDICTS[kind]})
        match kind, value:
            case (("jump" | "goto"), {"target": str(name)}) if (chain.family, chain.table, name) in self.ruleset.chains:
                ends = self.through(self.ruleset.chains[chain.family, chain.table, name])
                return ends - {End.BACK} | _ON if kind == "jump" and End.BACK in ends else ends
            case "vmap", {"key": key, "data": {"set": list(pairs)}}:
                return self._mapped(chain, key, pairs)
            case _:
                return self._diverted(kind, value)

    def _diverted(self, kind: str, value: Any) -> frozenset[End]:
        """Add where else the packet goes to the verdict, and return whether evaluation continues."""
        match kind, value:
            case "dnat", {"addr": str(text)} if (known := _address(text)) is not None:
                self.verdict.targets.add(known)
            case (("dnat" | "mangle"), _):
                self.verdict.targets.add(None)
            case (("fwd" | "dup"), {"dev": str(device)}):
                self.verdict.copies.add(device)
            case _:
                return _ANY
        return {"dnat": frozenset({End.ACCEPT}), "fwd": frozenset({End.DROP})}.get(kind, _ON)

    def _mapped(self, chain: Chain, key: Any, pairs: Iterable[Any]) -> frozenset[End]:
        ends: set[End] = set()
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2:  # noqa: PLR2004 - a key and its verdict
                return _ANY
            element, verdict = pair
            known = self._holds(chain, {"op": "==", "left": key, "right": element})
            if known is not False:
                ((kind, value),) = _statement(verdict).items()
                ends |= self._verdict(chain, kind, value)
            if known is True:
                return frozenset(ends)
        return frozenset(ends) | _ON

    def _holds(self, chain: Chain, match: Any) -> Known:
        if not isinstance(match, dict):
            return None
        operator, right, value = match.get("op"), match.get("right"), self._read(match.get("left"))
        if value is _ABSENT:
            return False  # a match on another protocol's header never holds, whatever its operator
        if operator == "in" and value == _STATE:
            operator = "=="
        known = self._contains(chain, right, value) if operator in ("==", "!=") else None
        return None if known is None else known == (operator == "==")

    def _read(self, left: Any) -> str | IPv4Address | None:
        """Return the value of a match's left side for this packet, or None if it is unknown."""
        packet = self.packet
        match left:
            case {"meta": {"key": str(key)}}:
                inward, outward = packet.inward, packet.outward
                met = {"iifname": inward, "iif": inward, "oifname": outward, "oif": outward}
                return (met | {"nfproto": f"ipv{packet.version}"}).get(key)
            case {"ct": {"key": "state"}}:
                return _STATE
            case {"payload": {"protocol": "ip" | "ip6" as protocol}} if protocol not in _FAMILIES[packet.version]:
                return _ABSENT
            case {"payload": {"protocol": "ip", "field": str(name)}}:
                return {"saddr": packet.source, "daddr": packet.target if packet.exact else None}.get(name)
        return None

    def _contains(self, chain: Chain, right: Any, value: str | IPv4Address | None) -> Known:
        """Return whether a value equals the right side of a match, or is in it if that is a set or a range."""
        if value is None:
            return None
        answers = {_equals(one, value) for one in self._elements(chain, right)}
        return True if True in answers else None if None in answers else False

    def _elements(self, chain: Chain, right: Any) -> Iterator[Any]:
        match right:
            case str() if right.startswith("@"):
                members = self.ruleset.members(chain.family, chain.table, right.removeprefix("@"))
                yield from members if members is not None else [{"missing set": right}]
            case {"set": list(members)} | list(members):
                yield from members
            case _:
                yield right


def parse_rules(text: str, chains_as_text: str = "") -> Ruleset:
    """Parse the output of `nft -j list ruleset`; an empty text has no rules. Raises ValueError if it is malformed.

    The output of `nft list chains` names the devices that chains are attached to, which nft 1.0.6 leaves out of JSON.
    """
    try:
        entries = json.loads(text)["nftables"] if text else []
        attached = _attached(chains_as_text)
        chains = {_key(one): _chain(one, attached.get(_key(one), frozenset())) for one in _of("chain", entries)}
        sets = {_key(one): list(one.get("elem", ())) for one in _of("set", entries)}
        for rule in _of("rule", entries):
            statements = [_statement(one) for one in rule["expr"]]
            chains[rule["family"], rule["table"], rule["chain"]].rules.append(statements)
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"unexpected output of nft: {error}"
        raise ValueError(msg) from error
    return Ruleset(chains, sets)


def _of(what: str, entries: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    return (entry[what] for entry in entries if what in entry)


def _key(item: Mapping[str, Any]) -> _Key:
    return item["family"], item["table"], item["name"]


def _attached(text: str) -> dict[_Key, frozenset[str]]:
    """Return the devices of each chain that `nft list chains` prints with some."""
    found: dict[_Key, frozenset[str]] = {}
    table = ("", "")
    for part in _CHAINS.finditer(text):
        if part["table"] is not None:
            table = (part["family"], part["table"])
        else:
            found[*table, part["chain"]] = frozenset(re.findall(r'[^", {}=]+', part["devices"]))
    return found


def _chain(item: Mapping[str, Any], attached: frozenset[str]) -> Chain:
    device = item.get("dev", ())
    devices = frozenset({device} if isinstance(device, str) else device) | attached
    return Chain(*_key(item), item.get("hook"), item.get("policy", "accept"), devices, [])


def _statement(item: Any) -> Mapping[str, Any]:
    """Return a statement as one name and its value; a statement of another form is `unknown`."""
    return item if isinstance(item, dict) and len(item) == 1 else {"unknown": item}


def _counts_connections(kind: str, value: Any) -> bool:
    """Return whether a statement holds only for a sender that has many connections already."""
    match kind, value:
        case "ct count", {"val": int(count), "inv": True}:
            return count >= _FEW_CONNECTIONS
        case "set", {"stmt": [{"ct count": limit}]}:
            return _counts_connections("ct count", limit)
        case _:
            return False


def _harmless(kind: str, value: Any) -> bool:
    """Return whether a statement neither ends the evaluation of a chain nor redirects the packet."""
    match kind, value:
        case "mangle", {"key": {"payload": {"protocol": protocol, "field": name}}}:
            return (protocol, name) not in _ADDRESSES
        case "mangle", {"key": {"meta": _} | {"ct": _}}:
            return True
        case _:
            return kind in _QUIET


def _equals(element: Any, value: str | IPv4Address) -> Known:
    match element, value:
        case {"elem": {"val": one}}, _:
            return _equals(one, value)
        case str(), str():
            return value.startswith(element[:-1]) if element.endswith("*") else value == element
        case str(), IPv4Address():
            known = _address(element)
            return None if known is None else value == known
        case {"prefix": {"addr": str(start), "len": int(length)}}, IPv4Address():
            known = _address(start)
            return None if known is None else value in IPv4Network((int(known), length), strict=False)
        case {"range": [str(first), str(last)]}, IPv4Address():
            low, high = _address(first), _address(last)
            return None if low is None or high is None else low <= value <= high
        case _:
            return None


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except ValueError:
        return None
