"""Finds listeners that a trace does not list: mirrors of a switch, and kernel interfaces stacked on its ports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reconciler.spec.models.names import HostName
from reconciler.verify.declared import Declared
from reconciler.verify.namespace import Interface, Namespace
from reconciler.verify.probes import Switch, origin_of
from reconciler.verify.verification import Violation, ViolationKind


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror of a switch: the ports whose frames it copies, by name, and the port or VLAN that gets the copies.

    With `all` it copies every frame. If `vlans` is not empty, it copies only frames of those VLANs.
    """

    name: str
    all: bool
    ports: frozenset[str]
    vlans: frozenset[int]
    to_port: str | None
    to_vlan: int | None = None


def mirrors_of_declared(
    declared: Declared, host: HostName, switch: Switch, mirrors: Iterable[Mirror]
) -> Iterator[Violation]:
    """Yield each mirror that copies frames of declared stations or VLANs."""
    trunk = {switch.trunk.name} if switch.trunk is not None else set()
    known = {port.name: origin_of(declared, port) for port in switch.ports if declared.at(host, port.name) is not None}
    for mirror in mirrors:
        copied = {known.get(name, f"the trunk {name}") for name in mirror.ports & (known.keys() | trunk)}
        if mirror.all:
            copied = {"every port"}
        elif not copied and mirror.vlans & declared.vlans:
            copied = {f"VLAN {vlan}" for vlan in mirror.vlans & declared.vlans}
        if copied and (not mirror.vlans or mirror.vlans & declared.vlans):
            port = mirror.to_port
            to = f"VLAN {mirror.to_vlan}" if port is None else known.get(port, f"the port {port}")
            message = f"the mirror {mirror.name} of {host} copies frames of {', '.join(sorted(copied))} to {to}"
            yield Violation(ViolationKind.LEAK, (*sorted(copied), to), message)


def stacked_interfaces(
    declared: Declared, host: HostName, switch: Switch, spaces: Sequence[Namespace]
) -> Iterator[Violation]:
    """Yield each kernel interface that takes frames from the bridge's own port, the trunk, or a declared port.

    An interface on the bridge's own port or on the trunk receives declared VLANs, unless it is for another VLAN.
    """
    own = {switch.bridge} | ({switch.trunk.name} if switch.trunk is not None else set())
    known = {port.name: origin_of(declared, port) for port in switch.ports if declared.at(host, port.name) is not None}
    for space in spaces:
        for one in space.interfaces.values():
            if one.name in own and one.kind != "bridge" and not space.name and _bridge_above(space, one) is not None:
                message = f"{one.name} of {host} is in the bridge {one.master}, which receives frames of every VLAN"
                yield Violation(ViolationKind.LEAK, (one.name, str(one.master)), message)
            for below in sorted(_below(spaces, space, one)):
                if below in known or (below in own and _receives(declared, one)):
                    what = known.get(below, f"{'every VLAN' if one.vlan is None else f'VLAN {one.vlan}'} at {below}")
                    message = f"the interface {one.name} in {space} on {host} receives frames of {what}"
                    yield Violation(ViolationKind.LEAK, (what, one.name), message)


def _receives(declared: Declared, one: Interface) -> bool:
    return bool(declared.vlans) if one.vlan is None else one.vlan in declared.vlans


def _below(spaces: Sequence[Namespace], space: Namespace, one: Interface) -> set[str]:
    """Return the interfaces that this one may be stacked on, in any namespace; the ends of a veth are on none."""
    if one.kind == "veth":
        return set()
    if one.lower is not None or one.link is None:
        return {one.lower} if one.lower is not None else set()
    others = [there for there in spaces if there is not space and _may_be(there, space, one)]
    return {each.name for there in others for each in there.interfaces.values() if each.index == one.link}


def _may_be(there: Namespace, space: Namespace, one: Interface) -> bool:
    """Return whether an interface's other end may be in a namespace: a number without a name may be any unnamed one."""
    if space.spaces is None or one.space is None:
        return True
    name = space.spaces.get(one.space, "")
    return there.name == name if name else not there.name or there.unnamed


def _bridge_above(space: Namespace, one: Interface) -> Interface | None:
    above = space.interfaces.get(one.master or "")
    return above if above is not None and above.kind == "bridge" else None
