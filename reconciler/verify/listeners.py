"""What hears frames and is no port that a trace names: mirrors of a switch, interfaces laid over its ports; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reconciler.spec.models.names import HostName
from reconciler.verify.declared import Declared
from reconciler.verify.live import Switch, origin_of
from reconciler.verify.namespace import Interface, Namespace
from reconciler.verify.proof import Violation, ViolationKind


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror of a switch: whose frames it copies, and where to; ports by name.

    With `all` it copies every frame; where `vlans` are named, only theirs.
    """

    name: str
    all: bool
    ports: frozenset[str]
    vlans: frozenset[int]
    to: str


def mirrored(declared: Declared, host: HostName, switch: Switch, mirrors: Iterable[Mirror]) -> Iterator[Violation]:
    """Yield each mirror that copies frames of what is declared."""
    trunk = {switch.trunk.name} if switch.trunk is not None else set()
    known = {port.name: origin_of(declared, port) for port in switch.ports if declared.at(host, port.name) is not None}
    for mirror in mirrors:
        heard = {known.get(name, f"the trunk {name}") for name in mirror.ports & (known.keys() | trunk)}
        if mirror.all:
            heard = {"every port"}
        elif not heard and mirror.vlans & declared.vlans:
            heard = {f"VLAN {vlan}" for vlan in mirror.vlans & declared.vlans}
        if heard and (not mirror.vlans or mirror.vlans & declared.vlans):
            words = f"the mirror {mirror.name} of {host} copies frames of {', '.join(sorted(heard))} to {mirror.to}"
            yield Violation(ViolationKind.LEAK, (*sorted(heard), mirror.to), words)


def laid_over(declared: Declared, host: HostName, switch: Switch, spaces: Sequence[Namespace]) -> Iterator[Violation]:
    """Yield each interface of the kernel that takes frames off the bridge's own port, the trunk, or a declared port.

    Whatever lies over the bridge's own port or the trunk hears declared VLANs, but for an interface of another VLAN.
    """
    own = {switch.bridge} | ({switch.trunk.name} if switch.trunk is not None else set())
    known = {port.name: origin_of(declared, port) for port in switch.ports if declared.at(host, port.name) is not None}
    for space in spaces:
        for one in space.interfaces.values():
            if one.name in own and one.kind != "bridge" and not space.name and _bridge_above(space, one) is not None:
                words = f"{one.name} of {host} belongs to the bridge {one.master}, which hears frames of every VLAN"
                yield Violation(ViolationKind.LEAK, (one.name, str(one.master)), words)
            for below in sorted(_below(spaces, space, one)):
                if below in known or (below in own and _hears(declared, one)):
                    what = known.get(below, f"{'every VLAN' if one.vlan is None else f'VLAN {one.vlan}'} at {below}")
                    words = f"the interface {one.name} in {space} on {host} hears frames of {what}"
                    yield Violation(ViolationKind.LEAK, (what, one.name), words)


def _hears(declared: Declared, one: Interface) -> bool:
    return bool(declared.vlans) if one.vlan is None else one.vlan in declared.vlans


def _below(spaces: Sequence[Namespace], space: Namespace, one: Interface) -> set[str]:
    """Return what an interface may lie over, in its namespace or another; the ends of a veth lie over nothing."""
    if one.kind == "veth":
        return set()
    if one.lower is not None or one.link is None:
        return {one.lower} if one.lower is not None else set()
    others = (each for there in spaces if there is not space for each in there.interfaces.values())
    return {each.name for each in others if each.index == one.link}


def _bridge_above(space: Namespace, one: Interface) -> Interface | None:
    above = space.interfaces.get(one.master or "")
    return above if above is not None and above.kind == "bridge" else None
