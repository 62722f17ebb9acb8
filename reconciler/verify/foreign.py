"""Finds what else acts on guests' frames on a host: addresses of the host itself, foreign flows, nftables hooks.

A trace does not list it: a host that has an address on a TAP answers the guest without any switch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from reconciler.plan.resources import StationRole
from reconciler.spec.models.names import HostName
from reconciler.verify.declared import Declared
from reconciler.verify.namespace import Namespace
from reconciler.verify.probes import Switch
from reconciler.verify.verification import Violation, ViolationKind

_NEW_BRIDGE: Final = "priority=0 actions=NORMAL"


def addressed_taps(declared: Declared, host: HostName, spaces: Iterable[Namespace]) -> Iterator[Violation]:
    """Yield each TAP of a declared guest on which its worker has an address, or IPv6: the worker answers the guest."""
    for space in spaces:
        for where, station in sorted(declared.stations.items()):
            here = station.role is StationRole.GUEST and (station.host, station.namespace) == (host, space.name)
            tap = space.interfaces.get(station.interface) if here else None
            if tap is None:
                continue
            found = [f"the address {address}" for address in tap.addresses]
            found += ["IPv6 enabled"] if tap.name in space.ipv6 else []
            if found:
                what = f"the TAP {tap.name} of {host} has {' and '.join(found)}"
                yield Violation(ViolationKind.LEAK, (where, host), f"{what}: the host itself answers {where} on it")


def bridge_on_vlan(
    declared: Declared, host: HostName, switch: Switch, spaces: Iterable[Namespace]
) -> Iterator[Violation]:
    """Yield the bridge's own port if it is on a declared VLAN: what guests send there arrives at the host itself.

    Without a tag the host gets tagged frames of every VLAN there, which it ignores.
    """
    port = switch.own
    if port is None or port.tag not in declared.vlans:
        return
    found = [one for space in spaces if not space.name for one in space.interfaces.values() if one.name == port.name]
    addresses = [str(address) for one in found for address in one.addresses]
    has = f"the tag {port.tag}" + (f" and the address {', '.join(addresses)}" if addresses else "")
    message = f"the bridge's own port {port.name} of {host} has {has}: the host itself is on VLAN {port.tag}"
    yield Violation(ViolationKind.LEAK, (f"VLAN {port.tag}", host), message)


def foreign_flows(declared: Declared, host: HostName, bridge: str, flows: Iterable[str]) -> Iterator[Violation]:
    """Yield each flow of the bridge that is not ours, where the host carries anything declared.

    The flow of a new bridge, which forwards what no other flow matches, is as ours: ours takes its place with the first
    port or trunk.
    """
    if host not in declared.carried:
        return
    for flow in flows:
        if flow == _NEW_BRIDGE:
            continue
        message = f"a flow on {bridge} of {host} is not ours, and may pass or divert any frame: {flow}"
        yield Violation(ViolationKind.LEAK, (bridge, host), message)


def hooks_on_ours(
    declared: Declared, host: HostName, switch: Switch, spaces: Iterable[Namespace]
) -> Iterator[Violation]:
    """Yield each nftables chain on a declared interface, the trunk or the bridge's own port.

    It gets the frames before the switch or the router does, and can copy, redirect, change or drop them.
    """
    if host not in declared.carried:
        return
    ours = {(one.namespace, one.interface): str(where) for where, one in declared.stations.items() if one.host == host}
    ours |= {("", switch.bridge): "the bridge's own port"}
    ours |= {("", switch.trunk.name): "the trunk"} if switch.trunk is not None else {}
    for space in spaces:
        for chain, device in space.ruleset.hooks():
            if (what := ours.get((space.name, device))) is not None:
                message = (
                    f"the nftables chain {chain} in {space} on {host} is attached to {device}, {what}:"
                    " its rules see frames before ours do, and may copy, divert or drop them"
                )
                yield Violation(ViolationKind.LEAK, (what, str(chain)), message)
