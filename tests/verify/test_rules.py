"""What chains of rules do with a packet, and that whatever is not understood counts as the worst."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.verify.rules import Packet, PacketVerdict, parse_rules
from tests.effort import examples

ACCEPT, DROP, RETURN = {"accept": None}, {"drop": None}, {"return": None}
PACKET = Packet("in0", "out0", IPv4Address("10.0.0.2"), IPv4Address("10.0.1.2"), exact=True)
MARKED = {"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": 7}}

Rule = list[Any]
"""One rule, as the statements of its `expr`."""

Chains = dict[str, list[Rule]]
"""Rules by the name of their chain."""


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str, right: Any, op: str = "==") -> dict[str, Any]:
    return match({"meta": {"key": key}}, right, op)


def field(protocol: str, name: str, right: Any, op: str = "==") -> dict[str, Any]:
    return match({"payload": {"protocol": protocol, "field": name}}, right, op)


def ruleset(*rules: Rule, policy: str = "drop", hook: str = "forward", others: Chains | None = None) -> str:
    """Write what nft prints of one base chain with these rules, of other chains by name, and of a set `inside`."""
    table = {"family": "inet", "table": "t"}
    others = others or {}
    chains = {"base": [*rules], **others}
    entries: list[dict[str, Any]] = [
        {"chain": {**table, "name": "base", "hook": hook, "prio": 0, "policy": policy, "type": "filter"}},
        *({"chain": {**table, "name": name}} for name in others),
        {"set": {**table, "name": "inside", "type": "ifname", "elem": ["in0", {"elem": {"val": "in1", "timeout": 9}}]}},
    ]
    entries += [{"rule": {**table, "chain": name, "expr": rule}} for name in chains for rule in chains[name]]
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": table}, *entries]})


def meets(*rules: Rule, packet: Packet = PACKET, others: Chains | None = None) -> tuple[bool, bool]:
    """Return whether the packet may pass, and whether it may be dropped."""
    met = parse_rules(ruleset(*rules, others=others)).verdict("forward", packet)
    return met.passes, met.drops


PASSES, DROPPED, UNKNOWN = (True, False), (False, True), (True, True)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (meta("iifname", "in0"), True),
        (meta("iifname", "in1"), False),
        (meta("iifname", "in1", "!="), True),
        (meta("iif", "in0"), True),
        (meta("oifname", "out*"), True),
        (meta("oifname", {"set": ["out1", "out2"]}), False),
        (meta("iifname", "@inside"), True),
        (meta("oifname", "@inside"), False),
        (meta("iifname", "@elsewhere"), None),
        (meta("nfproto", "ipv4"), True),
        (meta("nfproto", "ipv6"), False),
        (meta("l4proto", "tcp"), None),
        (meta("iifname", "in0", "<"), None),
        (meta("iifname", {"|": ["in0"]}), None),
        (field("ip", "saddr", "10.0.0.2"), True),
        (field("ip", "saddr", {"prefix": {"addr": "10.0.0.0", "len": 24}}), True),
        (field("ip", "daddr", {"prefix": {"addr": "10.0.0.0", "len": 24}}), False),
        (field("ip", "daddr", {"set": [{"range": ["10.0.1.1", "10.0.1.9"]}]}), True),
        (field("ip", "daddr", {"range": ["no", "address"]}), None),
        (field("ip", "ttl", 1), None),
        (field("ip6", "saddr", "::1", "!="), False),
        (field("tcp", "dport", 22), None),
        (match({"ct": {"key": "state"}}, ["established", "related"], "in"), False),
        (match({"ct": {"key": "state"}}, ["established", "new"], "in"), True),
        (match({"ct": {"key": "state"}}, {"set": ["established"]}, "!="), True),
        (match({"ct": {"key": "mark"}}, 1), None),
        (match({"fib": {"result": "oif"}}, "none"), None),
        (match(None, None), None),
        ({"limit": {"rate": 1}}, None),
        ({"xt": None}, None),
    ],
    ids=json.dumps,
)
def test_a_match_holds_or_not_or_may(condition: dict[str, Any], holds: bool | None) -> None:
    wanted = {True: PASSES, False: DROPPED, None: UNKNOWN}[holds]
    assert meets([condition, ACCEPT]) == wanted
    assert meets([{"counter": {"packets": 0, "bytes": 0}}, condition, {"log": None}, ACCEPT]) == wanted


@pytest.mark.parametrize(
    ("rules", "others", "wanted"),
    [
        ([], {}, DROPPED),
        ([[ACCEPT], [DROP]], {}, PASSES),
        ([[MARKED, ACCEPT], [DROP]], {}, UNKNOWN),
        ([[{"reject": None}], [ACCEPT]], {}, DROPPED),
        ([[{"jump": {"target": "to"}}], [ACCEPT]], {"to": [[RETURN], [DROP]]}, PASSES),
        ([[{"jump": {"target": "to"}}], [ACCEPT]], {"to": [[DROP]]}, DROPPED),
        ([[{"jump": {"target": "to"}}], [ACCEPT]], {"to": []}, PASSES),
        ([[{"goto": {"target": "to"}}], [ACCEPT]], {"to": []}, DROPPED),
        ([[MARKED, {"goto": {"target": "to"}}], [ACCEPT]], {"to": []}, UNKNOWN),
        ([[{"jump": {"target": "nowhere"}}]], {}, UNKNOWN),
        ([[{"jump": {"target": "to"}}]], {"to": [[{"jump": {"target": "to"}}]]}, UNKNOWN),
        (
            [[{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["new", ACCEPT], ["invalid", DROP]]}}}]],
            {},
            PASSES,
        ),
        ([[{"vmap": {"key": {"meta": {"key": "mark"}}, "data": {"set": [[7, ACCEPT]]}}}]], {}, UNKNOWN),
        ([[{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@map"}}]], {}, UNKNOWN),
        ([[{"queue": {"num": 1}}]], {}, UNKNOWN),
        ([[{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}}, ACCEPT]], {}, PASSES),
        ([["accept"]], {}, UNKNOWN),
    ],
    ids=str,
)
def test_a_packet_goes_through_chains(rules: list[Rule], others: Chains, wanted: tuple[bool, bool]) -> None:
    assert meets(*rules, others=others) == wanted


def test_every_chain_at_a_hook_has_to_let_it_pass() -> None:
    both = json.loads(ruleset([ACCEPT]))
    other = {"family": "ip", "table": "u", "name": "other"}
    both["nftables"] += [
        {"chain": {**other, "hook": "forward", "policy": "accept"}},
        {"rule": {"family": "ip", "table": "u", "chain": "other", "expr": [meta("oifname", "out0"), DROP]}},
    ]
    met = parse_rules(json.dumps(both)).verdict("forward", PACKET)
    assert (met.passes, met.drops, met.stops) == (False, True, ["ip u other"])
    six = Packet("in0", "out0", None, None, version=6)
    assert parse_rules(json.dumps(both)).verdict("forward", six).passes, "a table of IPv4 does not concern it"


def test_a_sender_may_choose_its_addresses() -> None:
    free = Packet("in0", "out0", None, IPv4Address("10.0.1.2"))
    assert meets([field("ip", "saddr", "10.9.9.9"), ACCEPT], packet=free) == UNKNOWN
    assert meets([field("ip", "daddr", "10.0.1.3"), ACCEPT], packet=free) == UNKNOWN


@pytest.mark.parametrize(
    ("statement", "targets", "copies", "goes_on"),
    [
        ({"dnat": {"family": "ip", "addr": "10.0.9.9", "port": 22}}, {IPv4Address("10.0.9.9")}, set(), True),
        ({"dnat": {"addr": {"map": {}}}}, {None}, set(), True),
        (
            {"mangle": {"key": {"payload": {"protocol": "ip", "field": "daddr"}}, "value": "10.0.9.9"}},
            {None},
            set(),
            True,
        ),
        ({"dup": {"addr": "10.0.9.9", "dev": "out9"}}, set(), {"out9"}, True),
        ({"fwd": {"dev": "out9"}}, set(), {"out9"}, False),
        ({"redirect": {"port": 22}}, set(), set(), False),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_rule_may_lead_a_packet_elsewhere(
    statement: dict[str, Any], targets: set[IPv4Address | None], copies: set[str], goes_on: bool
) -> None:
    text = ruleset([MARKED, statement], policy="accept", hook="prerouting")
    met = parse_rules(text).verdict("prerouting", PACKET)
    assert (met.targets, met.copies, met.passes) == (targets, copies, True)
    alone = parse_rules(ruleset([statement], policy="accept", hook="prerouting")).verdict("prerouting", PACKET)
    assert alone.passes == goes_on


def test_a_chain_of_a_device_concerns_that_device() -> None:
    rules = json.loads(ruleset())
    chain = {"family": "netdev", "table": "t", "name": "at", "hook": "ingress", "dev": ["in0"], "policy": "drop"}
    rules["nftables"].append({"chain": chain})
    assert not parse_rules(json.dumps(rules)).verdict("ingress", PACKET).passes
    assert parse_rules(json.dumps(rules)).verdict("ingress", Packet("in1", None, None, None)).passes


def test_no_rules_let_everything_pass() -> None:
    assert parse_rules("").verdict("forward", PACKET) == PacketVerdict()


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        "{}",
        '{"nftables": [7]}',
        '{"nftables": {"chain": 7}}',
        '{"nftables": [{"chain": {"family": "inet"}}]}',
        '{"nftables": [{"rule": {"family": "inet", "table": "t", "chain": "none", "expr": []}}]}',
        '{"nftables": [{"chain": {"family": "inet", "table": "t", "name": "c", "hook": "forward", "policy": "no"}}]}',
    ],
)
def test_what_is_no_ruleset_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rules(text).verdict("forward", PACKET)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["in0", "@inside", "accept", "10.0.0.0", "meta", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["match", "op", "left", "right", "meta", "key", "set", "vmap", "data", "jump", "target", "dnat"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=examples(300))
@given(st.lists(st.lists(JSON, max_size=3), max_size=3))
def test_no_ruleset_passes_by_accident(rules: list[Rule]) -> None:
    """Whatever stands before an accept of all: the packet may pass, unless a rule that is understood drops it."""
    passes, _ = meets(*rules, [ACCEPT])
    assert passes


CHAINS_AS_TEXT = """table netdev one { chain in { type filter hook ingress device "tap1-0" priority -5; } }
table inet two { chain plain { } chain out { type filter hook egress devices = { "ens4", br-int } priority -5; } }"""


def test_devices_are_read_from_text_where_the_json_leaves_them_out() -> None:
    entries = [
        {"chain": {"family": "netdev", "table": "one", "name": "in", "hook": "ingress", "policy": "accept"}},
        {"chain": {"family": "inet", "table": "two", "name": "plain"}},
        {"chain": {"family": "inet", "table": "two", "name": "out", "hook": "egress", "policy": "accept"}},
        {"chain": {"family": "netdev", "table": "two", "name": "new", "hook": "ingress", "dev": "ens5"}},
    ]
    rules = parse_rules(json.dumps({"nftables": entries}), " ".join(CHAINS_AS_TEXT.split()))
    assert [(str(chain), device) for chain, device in rules.hooks()] == [
        ("netdev one in", "tap1-0"),
        ("inet two out", "br-int"),
        ("inet two out", "ens4"),
        ("netdev two new", "ens5"),
    ]
