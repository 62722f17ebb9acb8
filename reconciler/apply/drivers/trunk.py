"""Adds VLANs to a host's trunk port and removes them, in the switch's own transactions.

Each VLAN has its own tag in the port's `external_ids`, and VLANs of other owners are not touched. An empty `trunks`
column would mean every VLAN, so the parking VLAN is added with the first one and stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.apply.drivers import bridge, switch
from reconciler.apply.drivers.driver import Driver, Found, Survey, SurveyTarget
from reconciler.apply.drivers.ownership import TAG, owns, refuse, slice_of, stop_at, tagged
from reconciler.apply.drivers.switch import Flow
from reconciler.apply.transport.command import Command, Operation, Result, script
from reconciler.errors import ForeignObject
from reconciler.plan.resources import Trunk
from reconciler.spec.models.cluster import PARKING_VLAN
from reconciler.spec.models.names import Address, VlanId

_ALLOW, _DROP = 150, 140

# Puts a trunk port that was removed back on its bridge. An interface that has another use is not touched.
ATTACH = """
bridge=$1 port=$2 parking=$3 trouble=
holder=$(ovs-vsctl --timeout=10 port-to-br "$port" 2> /dev/null) || :
if [ "$holder" = "$bridge" ]; then exit 0; fi
if [ -n "$holder" ]; then
    trouble="it is on the bridge $holder"
elif [ ! -e "/sys/class/net/$port" ]; then
    trouble="there is no interface of that name"
elif [ -e "/sys/class/net/$port/master" ] || [ -n "$(ip -o -4 address show dev "$port")" ]; then
    trouble="it is in use for something else"
fi
if [ -n "$trouble" ]; then
    echo "there is no port $port on the bridge $bridge, and it cannot be put there: $trouble" >&2
    echo "name the port towards the other hosts in the cluster file, under bridge: trunk" >&2
    exit 1
fi
ovs-vsctl --timeout=10 add-port "$bridge" "$port" trunks="$parking"
"""


@dataclass(frozen=True, slots=True)
class TrunkFact:
    """A trunk port: the VLANs that it carries, their owners, and the flows of this trunk's cookie.

    `present` is whether the port exists at all; `owners` maps VLANs to addresses; `guarded` is whether its bridge fails
    closed, with its flows loaded.
    """

    present: bool
    carried: frozenset[int]
    owners: Mapping[int, str]
    flows: frozenset[Flow]
    guarded: bool


def probe(trunks: Sequence[Trunk]) -> tuple[Command, ...]:
    """Return the commands that read the trunk ports and the flows of each bridge."""
    flows = [switch.probe_flows(name) for name in sorted({trunk.bridge for trunk in trunks})]
    return switch.probe_ports(trunk.port for trunk in trunks), *flows


def parse(trunks: Sequence[Trunk], results: Sequence[Result]) -> Mapping[Address, TrunkFact]:
    """Read one fact for each trunk; several may share a port."""
    host = trunks[0].host
    ports = switch.parse_ports(host, results[0])
    bridges = sorted({trunk.bridge for trunk in trunks})
    flows = {name: switch.parse_flows(host, result) for name, result in zip(bridges, results[1:], strict=True)}
    found = {}
    for trunk in trunks:
        port = ports.get(trunk.port)
        present = port is not None and port.bridge == trunk.bridge
        found[trunk.address] = TrunkFact(
            present=present,
            carried=port.trunks if present and port is not None else frozenset(),
            owners=_owners(port.tags) if present and port is not None else {},
            flows=flows[trunk.bridge].get(switch.cookie(trunk.address), frozenset()),
            guarded=bridge.guarded(flows[trunk.bridge]),
        )
    return found


def ensure(trunk: Trunk, fact: TrunkFact, before: Trunk | None) -> tuple[Operation, ...]:
    """Add the trunk's VLANs, and remove those that it had before. Flows are set before a VLAN is added.

    A port that is not on the bridge is put there first. Other slices' VLANs return when those slices are applied.
    """
    stop_at(_obstacle(trunk, fact))
    operations: list[Operation] = [] if fact.guarded else [bridge.secure(trunk.bridge)]
    if not fact.present:
        operations.append(script(ATTACH, trunk.bridge, trunk.port, str(PARKING_VLAN)))
    wanted = guard(trunk)
    if fact.flows != wanted or (wanted and not fact.guarded):
        earlier = fact.flows if fact.guarded else fact.flows | wanted
        operations.append(switch.set_flows(trunk.bridge, switch.cookie(trunk.address), earlier, wanted))
    missing: set[int] = {vlan for vlan in trunk.vlans if not _carries(trunk, fact, vlan)}
    gone = _ours(trunk, fact) | {vlan for vlan in (before.vlans if before else ()) if vlan not in fact.owners}
    changes = _changes(trunk, fact, add=missing, take_off=(gone & _known(fact)) - {*trunk.vlans})
    return (*operations, switch.transact(*changes)) if changes else tuple(operations)


def remove(trunk: Trunk, fact: TrunkFact) -> tuple[Operation, ...]:
    """Remove the trunk's VLANs, then its flows. The parking VLAN stays."""
    stop_at(_obstacle(trunk, fact))
    operations: list[Operation] = []
    if ours := _ours(trunk, fact):
        operations.append(switch.transact(*_changes(trunk, fact, add=set(), take_off=ours)))
    if fact.flows:
        operations.append(switch.set_flows(trunk.bridge, switch.cookie(trunk.address), fact.flows, frozenset()))
    return tuple(operations)


def observed(trunk: Trunk, fact: TrunkFact) -> Mapping[str, Any] | None:
    """Return the VLANs that the port carries for this trunk, and the only gateway whose frames may enter.

    A bridge that does not fail closed counts as one that carries none of them.
    """
    vlans = sorted(_ours(trunk, fact) & fact.carried)
    if not vlans:
        return None
    macs = {part.partition("=")[2] for one in fact.flows for part in one.match if part.startswith("dl_src=")}
    gateway = next(iter(macs)) if len(macs) == 1 else None
    whole = gateway is not None and fact.flows == _guard(trunk.port, vlans, gateway)
    return {
        "bridge": trunk.bridge,
        "port": trunk.port,
        "vlans": vlans if fact.guarded else [],
        "gateway_mac": gateway if whole else None,
    }


def guard(trunk: Trunk) -> frozenset[Flow]:
    """Return the flows that accept, on these VLANs of the trunk, only frames from the gateway."""
    return _guard(trunk.port, trunk.vlans, trunk.gateway_mac) if trunk.gateway_mac else frozenset()


def _guard(port: str, vlans: Iterable[int], gateway: str) -> frozenset[Flow]:
    return frozenset(
        one
        for vlan in vlans
        for one in (
            switch.flow(_ALLOW, "NORMAL", in_port=port, dl_vlan=str(vlan), dl_src=gateway),
            switch.flow(_DROP, "drop", in_port=port, dl_vlan=str(vlan)),
        )
    )


def _key(vlan: int) -> str:
    return f"{TAG}-vlan-{vlan}"


def _owners(tags: Mapping[str, str]) -> dict[int, str]:
    start = f"{TAG}-vlan-"
    named = {key.removeprefix(start): value for key, value in tags.items() if key.startswith(start)}
    return {int(vlan): owner for vlan, owner in named.items() if vlan.isdecimal()}


def _carries(trunk: Trunk, fact: TrunkFact, vlan: int) -> bool:
    return vlan in fact.carried and fact.owners.get(vlan) == trunk.address


def _ours(trunk: Trunk, fact: TrunkFact) -> set[int]:
    return {vlan for vlan, owner in fact.owners.items() if owns(trunk, owner)}


def _known(fact: TrunkFact) -> frozenset[int]:
    return fact.carried | frozenset(fact.owners)


def _obstacle(trunk: Trunk, fact: TrunkFact) -> ForeignObject | None:
    for vlan in trunk.vlans:
        owner = fact.owners.get(vlan, "")
        if not owns(trunk, owner) and (owner or vlan in fact.carried):
            return refuse(trunk, f"VLAN {vlan} on the trunk {trunk.port} of {trunk.bridge}", owner)
    return None


def _changes(trunk: Trunk, fact: TrunkFact, *, add: set[int], take_off: set[int]) -> list[tuple[str, ...]]:
    """Return the parts of one transaction. Nothing is read and written back, so no change of another owner is lost."""
    carry = add if PARKING_VLAN in fact.carried else {*add, PARKING_VLAN}
    commands: list[tuple[str, ...]] = []
    if carry:
        commands.append(("add", "Port", trunk.port, "trunks", *_numbers(carry)))
    if add:
        tags = {_key(vlan): str(trunk.address) for vlan in sorted(add)}
        commands.append(("set", "Port", trunk.port, *switch.external_ids(tags)))
    if take_off:
        commands.append(("remove", "Port", trunk.port, "trunks", *_numbers(take_off)))
        commands.append(("remove", "Port", trunk.port, "external_ids", *(_key(vlan) for vlan in sorted(take_off))))
    return commands


def _numbers(vlans: Iterable[int]) -> list[str]:
    return [str(vlan) for vlan in sorted(vlans)]


def survey(target: SurveyTarget, results: Sequence[Result]) -> Iterator[Found]:
    """Find VLANs on any port by their tags."""
    for port in switch.parse_ports(target.host, results[0]).values():
        vlans: dict[Address, list[VlanId]] = {}
        for vlan, owner in sorted(_owners(port.tags).items()):
            if (where := tagged(Trunk, owner)) is not None:
                vlans.setdefault(where, []).append(VlanId(vlan))
        for where, found in vlans.items():
            trunk = Trunk(
                address=where,
                slice=slice_of(Trunk, where),
                host=target.host,
                bridge=port.bridge,
                port=port.name,
                vlans=tuple(found),
                gateway_mac=None,
            )
            yield Found(trunk, port.uuid)


SURVEY: Survey[Trunk] = Survey(
    (switch.probe_ports(()),), survey, lambda trunk: f"VLANs on {trunk.port} of {trunk.bridge}"
)
DRIVER = Driver(Trunk, probe, parse, ensure, remove, observed, SURVEY)
