"""Creates each NIC's TAP and its port on the bridge, with flows that enforce anti-spoofing.

QEMU keeps a TAP open while it is added to and removed from the bridge, so links change while guests run. A TAP on no
bridge stays down, because the worker itself would answer on it. A TAP on a bridge is up, and the worker ignores it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from reconciler.apply.drivers import bridge, paths, shaping, switch
from reconciler.apply.drivers.driver import Driver, Found, Survey, SurveyTarget
from reconciler.apply.drivers.ownership import TAG, owns, refuse, slice_of, stop_at, tagged, tags
from reconciler.apply.drivers.switch import Flow, Meter, SwitchPort
from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Operation, Result, script
from reconciler.errors import ForeignObject
from reconciler.plan.resources import Port
from reconciler.spec.models.names import Address, BitRate, VlanId

_LIMIT, _ALLOW, _DROP = 210, 200, 190
_NORMAL = "NORMAL"
_BANDWIDTH_TABLE = 1
_LEAST_BURST = 1000  # kilobits; more than the largest packet that a kernel makes of a guest's segments, 64 KiB
_NUMBERS = 6000 * 32
_TAP = re.compile(r"tap(?P<vm>[0-9]+)-(?P<nic>[0-9]+)")
_UP = 0x1  # IFF_UP of linux/if.h
_BROADCAST = "ff:ff:ff:ff:ff:ff"
_GROUPS = "01:00:00:00:00:00/01:00:00:00:00:00"  # all broadcasts and multicasts
_NO_ADDRESS = "0.0.0.0"  # noqa: S104 - the sender address before a guest has one; nothing is bound to it
# No 802.1Q header at all, as `ovs-ofctl dump-flows` writes it.
_UNTAGGED = "0x0000/0x1fff"

# Six lines for each TAP: tap, other or nothing; alias; claim; MTU; flags; the units of meters that the keeper keeps.
PROBE = """
claims=$1 keeper=$2 meters=
shift 2
if grep -qs 'dump-meters' "$keeper"; then meters=pktps; fi
if grep -qs 'kbps' "$keeper"; then meters='pktps kbps'; fi
for tap do
    device= alias= claim= mtu= flags=
    if [ -e "/sys/class/net/$tap" ]; then
        device=other
        if [ -e "/sys/class/net/$tap/tun_flags" ]; then device=tap; fi
        IFS= read -r alias < "/sys/class/net/$tap/ifalias" || :
        read -r mtu < "/sys/class/net/$tap/mtu" || :
        read -r flags < "/sys/class/net/$tap/flags" || :
    fi
    if [ -e "$claims/$tap" ]; then IFS= read -r claim < "$claims/$tap" || :; fi
    printf '%s\\n' "$device" "$alias" "$claim" "$mtu" "$flags" "$meters"
done
"""

CREATE = """
tap=$1 address=$2 mtu=$3 state=$4 claims=$5
if [ ! -e "/sys/class/net/$tap" ]; then
    [ -d "$claims" ] || mkdir -p -- "$claims"
    printf '%s\\n' "$address" > "$claims/$tap"
    ip tuntap add dev "$tap" mode tap
fi
for setting in ipv4/conf/"$tap"/rp_filter=1 ipv4/conf/"$tap"/arp_ignore=8 ipv6/conf/"$tap"/disable_ipv6=1; do
    if [ -e "/proc/sys/net/${setting%=*}" ]; then echo "${setting#*=}" > "/proc/sys/net/${setting%=*}"; fi
done
ip link set dev "$tap" alias "$address" mtu "$mtu" "$state"
if [ -e "$claims/$tap" ]; then rm -f -- "$claims/$tap"; fi
"""

REMOVE = """
if [ -e "/sys/class/net/$1" ]; then ip link delete dev "$1"; fi
if [ -e "$2/$1" ]; then rm -f -- "$2/$1"; fi
"""


# Three lines for each TAP, and for each claim of one: name, owner, the TAP's number.
SURVEY_TAPS = """
for path in /sys/class/net/*/ifalias; do
    owner= index= tap=${path%/ifalias}
    { IFS= read -r owner || :; } 2> /dev/null < "$path" || :
    case $owner in port/*) ;; *) continue ;; esac
    { read -r index || :; } 2> /dev/null < "$tap/ifindex" || :
    printf '%s\\n' "${tap##*/}" "$owner" "$index"
done
for path in "$1"/*; do
    [ -f "$path" ] || continue
    owner=
    { IFS= read -r owner || :; } 2> /dev/null < "$path" || :
    printf '%s\\n' "${path##*/}" "$owner" ""
done
"""


class Numbers(NamedTuple):
    """The numbers of a port's meters on its bridge: of broadcasts, and of all that it sends."""

    broadcast: int
    bandwidth: int


@dataclass(frozen=True, slots=True)
class PortFact:
    """A TAP as the kernel has it, its port as the switch has it, and the flows of its cookie.

    `guarded` is whether its bridge fails closed, with its flows loaded, and `kept` has the units of the meters that are
    loaded again when the switch restarts. `numbers` are the port's meters, `meters` those of them that there are.
    `shaped` is how many bits in a second its filter passes to the guest, and `lasting` whether the switch keeps it.
    `device` is `tap`, `other` for an interface of another kind, or empty. `claim` is the address that was written
    before the TAP was created, until the alias has it.
    """

    device: str
    alias: str
    claim: str
    mtu: int
    up: bool
    port: SwitchPort | None
    flows: frozenset[Flow]
    guarded: bool
    kept: frozenset[str]
    numbers: Numbers
    meters: Mapping[int, Meter]
    shaped: BitRate | None = None
    lasting: bool = False

    @property
    def owner(self) -> str:
        """The address of the resource that the TAP belongs to, or other text in its alias."""
        return self.alias or self.claim


def probe(ports: Sequence[Port]) -> tuple[Command, ...]:
    """Return the commands that read TAPs and filters, the switch's ports, and the flows and meters of each bridge."""
    taps = [port.tap for port in ports]
    bridges = sorted({port.bridge for port in ports})
    flows = [switch.probe_flows(name) for name in bridges]
    meters = [switch.probe_meters(name) for name in bridges]
    taps_and_ports = script(PROBE, paths.CLAIMS, bridge.KEEPER, *taps), switch.probe_ports(taps)
    return *taps_and_ports, shaping.probe(), *flows, *meters


def parse(ports: Sequence[Port], results: Sequence[Result]) -> Mapping[Address, PortFact]:
    """Read one fact for each port."""
    host = ports[0].host
    devices = output.records(host, results[0], count=len(ports), width=6)
    on_switch = switch.parse_ports(host, results[1])
    bridges = sorted({port.bridge for port in ports})
    filters = shaping.parse(host, results[2])
    flows = {name: switch.parse_flows(host, result) for name, result in zip(bridges, results[3:], strict=False)}
    rest = results[3 + len(bridges) :]
    meters = {name: switch.parse_meters(host, result) for name, result in zip(bridges, rest, strict=True)}
    numbers = {name: _numbers([port.tap for port in ports if port.bridge == name], flows[name]) for name in bridges}
    return {
        port.address: PortFact(
            device=device,
            alias=alias,
            claim=claim,
            mtu=output.number(mtu),
            up=bool(output.number(flags, 16) & _UP),
            port=(found := on_switch.get(port.tap)),
            flows=flows[port.bridge].get(switch.cookie(port.tap), frozenset()),
            guarded=bridge.guarded(flows[port.bridge]),
            kept=frozenset(kept.split()),
            numbers=(own := numbers[port.bridge][port.tap]),
            meters={number: meters[port.bridge][number] for number in own if number in meters[port.bridge]},
            shaped=filters.rates.get(port.tap) if device else None,
            lasting=found is not None and found.qos in filters.entries,
        )
        for port, (device, alias, claim, mtu, flags, kept) in zip(ports, devices, strict=True)
    }


def _numbers(taps: Sequence[str], flows: Mapping[int, frozenset[Flow]]) -> Mapping[str, Numbers]:
    """Return the meters' numbers for TAPs of one bridge: those that their flows name, or free ones.

    If the flows of two TAPs name the same number, the one with the lower cookie keeps it.
    """
    holders = {number: cookie for cookie in sorted(flows, reverse=True) for number in _named(flows[cookie]) if number}

    def choose(tap: str, named: int | None, preferred: int) -> int:
        cookie = switch.cookie(tap)
        if named is not None and holders.get(named) == cookie:
            return named
        others = (number % _NUMBERS + 1 for number in range(preferred, preferred + _NUMBERS))
        number = next((number for number in others if number not in holders), preferred % _NUMBERS + 1)
        holders[number] = cookie
        return number

    chosen: dict[str, Numbers] = {}
    for tap in taps:
        broadcast, bandwidth = _named(flows.get(switch.cookie(tap), frozenset()))
        preferred = _preferred(tap)
        chosen[tap] = Numbers(choose(tap, broadcast, preferred), choose(tap, bandwidth, preferred + _NUMBERS // 2))
    return chosen


def _preferred(tap: str) -> int:
    """Return a number for a TAP that others have only if a host has 3000 later VMs, or if the name has no id."""
    match = _TAP.fullmatch(tap)
    return int(match["vm"]) * 32 + int(match["nic"]) if match else switch.cookie(tap)


def _named(flows: Iterable[Flow]) -> tuple[int | None, int | None]:
    """Return the meters that a port's flows name: of broadcasts, and of all that it sends."""
    named = [(one.table, one.meter) for one in flows if one.meter is not None]
    broadcast = [number for table, number in named if not table]
    return min(broadcast, default=None), min((number for table, number in named if table), default=None)


def ensure(port: Port, fact: PortFact, _before: Port | None) -> tuple[Operation, ...]:
    """Create or correct TAP, port and flows. What is correct is not touched, so a running guest keeps its NIC."""
    stop_at(_obstacle(port, fact))
    operations: list[Operation] = []
    unguarded = port.vlan is not None and not fact.guarded
    if unguarded or not _kept(port, fact):
        operations.append(bridge.secure(port.bridge))
    stale = fact.port is not None and (port.vlan is None or _unusable(port, fact, fact.port))
    if stale and fact.port is not None:
        operations.append(switch.transact(switch.delete_port(fact.port.bridge, port.tap)))
    state = "down" if port.vlan is None else "up"
    if (fact.device, fact.alias, fact.mtu, fact.up) != ("tap", port.address, port.mtu, state == "up"):
        operations.append(script(CREATE, port.tap, port.address, str(port.mtu), state, paths.CLAIMS))
    found = None if stale else fact.port
    if port.vlan is not None and not (_connected(port, found) and _owner(found) == port.address):
        operations.append(switch.transact(*_connection(port)))
    operations += _set_flows(port, fact, whole=found is not None and not unguarded)
    return (*operations, *_shape(port, fact, known=found is not None))


def _shape(port: Port, fact: PortFact, *, known: bool) -> Iterator[Command]:
    """Yield the commands that limit what goes to the guest, or no longer limit it."""
    wanted = port.bandwidth if port.vlan is not None else None
    if wanted is not None:
        if not known or not fact.lasting or fact.shaped != wanted:
            yield shaping.shape(port.tap, wanted)
        return
    if fact.shaped is not None:
        yield shaping.unshape(port.tap)
    if known and fact.lasting:
        yield shaping.release(port.tap)


def _set_flows(port: Port, fact: PortFact, *, whole: bool) -> Iterator[Command]:
    """Yield the commands that load the port's flows, and its meter before them; the keeper saves it with the flows."""
    wanted, kept = guard(port, fact.numbers), _kept(port, fact)
    limits = _limits(port, fact.numbers)
    for number, meter in limits.items():
        if not kept or fact.meters.get(number) != meter:
            yield switch.set_meter(port.bridge, number, meter)
    metered = kept and fact.meters == limits
    if fact.flows != wanted or (wanted and not (whole and metered)):
        earlier = fact.flows if whole or not wanted else fact.flows | wanted
        yield switch.set_flows(port.bridge, switch.cookie(port.tap), earlier, wanted)
    for number in sorted(fact.meters.keys() - limits.keys()):
        yield switch.delete_meter(port.bridge, number)


def _limits(port: Port, numbers: Numbers) -> Mapping[int, Meter]:
    """Return the meters that a port needs, by their numbers."""
    meters: dict[int, Meter] = {}
    if port.vlan is not None and port.broadcast is not None:
        meters[numbers.broadcast] = _broadcast_meter(port.broadcast)
    if port.vlan is not None and port.bandwidth is not None:
        meters[numbers.bandwidth] = _bandwidth_meter(port.bandwidth)
    return meters


def _broadcast_meter(broadcast: int) -> Meter:
    return Meter("pktps", broadcast, broadcast)


def _bandwidth_meter(bandwidth: int) -> Meter:
    """Return the meter for so many bits in a second: TCP needs a quarter of a second at once to come near them."""
    return Meter("kbps", bandwidth // 1000, max(bandwidth // 4000, _LEAST_BURST))


def _kept(port: Port, fact: PortFact) -> bool:
    return {one.unit for one in _limits(port, fact.numbers).values()} <= fact.kept


def remove(port: Port, fact: PortFact) -> tuple[Operation, ...]:
    """Take the port off the bridge, then its flows, then the TAP."""
    stop_at(_obstacle(port, fact))
    operations: list[Operation] = []
    if fact.port is not None:
        operations.append(switch.transact(switch.delete_port(fact.port.bridge, port.tap)))
    if fact.flows:
        operations.append(switch.set_flows(port.bridge, switch.cookie(port.tap), fact.flows, frozenset()))
    operations += [switch.delete_meter(port.bridge, number) for number in sorted(fact.meters)]
    if fact.device or fact.claim:
        operations.append(script(REMOVE, port.tap, paths.CLAIMS))
    return tuple(operations)


def observed(port: Port, fact: PortFact) -> Mapping[str, Any] | None:
    """Return the attributes as found; `mac`, `gateway_mac`, `ip`, `broadcast` and `bandwidth` are those in force.

    If the TAP is gone, the resource does not exist, even if its port is still on the bridge: QEMU has the deleted TAP
    open, and a new one would not reach the guest.
    """
    if not fact.device or _obstacle(port, fact):
        return None
    found: dict[str, Any] = {"tap": port.tap, "mtu": fact.mtu}
    found |= dict.fromkeys(("vlan", "gateway_mac", "ip", "broadcast", "bandwidth"))
    if fact.port is None:
        return found
    access = fact.port.mode == "access" and not fact.port.trunks
    works = fact.up and fact.port.ofport > 0 and access and fact.guarded
    mac, gateway, ip = _enforced(port.tap, fact.flows)
    return found | {
        "bridge": fact.port.bridge,
        "vlan": fact.port.tag if works else None,
        "mac": mac,
        "gateway_mac": gateway if fact.port.protected else None,
        "ip": ip,
        "broadcast": _broadcast(fact) if mac else None,
        "bandwidth": _bandwidth(port, fact, _sent(fact) if mac else None),
    }


def _broadcast(fact: PortFact) -> int | None:
    """Return how many broadcasts pass in a second, if the port's flows pass a meter that is its own and lasts."""
    meter, (named, _) = fact.meters.get(fact.numbers.broadcast), _named(fact.flows)
    if meter is None or named != fact.numbers.broadcast or meter.unit not in fact.kept:
        return None
    return meter.rate if meter == _broadcast_meter(meter.rate) else None


def _sent(fact: PortFact) -> int | None:
    """Return how many bits pass from the guest in a second, under the same condition."""
    meter, (_, named) = fact.meters.get(fact.numbers.bandwidth), _named(fact.flows)
    if meter is None or named != fact.numbers.bandwidth or meter.unit not in fact.kept:
        return None
    return meter.rate * 1000 if meter == _bandwidth_meter(meter.rate * 1000) else None


def _bandwidth(port: Port, fact: PortFact, sent: int | None) -> int | None:
    """Return the bandwidth in both directions; if they differ, one that is not as wanted."""
    received = fact.shaped if fact.lasting or port.bandwidth is None else None
    return received if sent == port.bandwidth else sent


def guard(port: Port, numbers: Numbers) -> frozenset[Flow]:
    """Return the flows of a port: frames with another sender's MAC or an 802.1Q tag are dropped.

    With a limit, broadcasts and multicasts pass the port's meter of them first. With a bandwidth, all that is not
    dropped goes through a flow of the next table, which passes another meter: OpenFlow allows a flow only one.

    On the internet VLAN a guest may send only to the gateway, and only from the port's own IP address: by unicast, and
    by the broadcasts that ARP and DHCP need. A port without an address there may send nothing.
    """
    if port.vlan is None:
        return frozenset()
    broadcast = numbers.broadcast if port.broadcast is not None else None
    bandwidth = numbers.bandwidth if port.bandwidth is not None else None
    return _guard(port.tap, port.mac, port.gateway_mac, port.ip, (broadcast, bandwidth))


def _guard(
    tap: str, mac: str, gateway: str | None, ip: str | None, meters: tuple[int | None, int | None]
) -> frozenset[Flow]:
    broadcast, bandwidth = meters
    drop = switch.flow(_DROP, "drop", in_port=tap)
    if gateway is not None and ip is None:
        return frozenset({drop})
    own = {"in_port": tap, "vlan_tci": _UNTAGGED, "dl_src": mac}
    to_one = _NORMAL if bandwidth is None else f"resubmit(,{_BANDWIDTH_TABLE})"
    to_all = to_one if broadcast is None else f"meter:{broadcast},{to_one}"
    flows = {drop}
    if bandwidth is not None:
        flows.add(Flow(_ALLOW, frozenset({f"in_port={tap}"}), f"meter:{bandwidth},{_NORMAL}", _BANDWIDTH_TABLE))
    if gateway is not None and ip is not None:
        permitted = [own | match for match in _permitted(mac, gateway, ip)]
        flows |= {switch.flow(_ALLOW, to_all if one["dl_dst"] == _BROADCAST else to_one, **one) for one in permitted}
        return frozenset(flows)
    flows.add(switch.flow(_ALLOW, to_one, **own))
    if broadcast is not None:
        flows.add(switch.flow(_LIMIT, to_all, **own, dl_dst=_GROUPS))
    return frozenset(flows)


def _permitted(mac: str, gateway: str, ip: str) -> Iterator[dict[str, str]]:
    """Yield what a guest may send on the internet VLAN.

    Before it has its address, it requests it by DHCP (RFC 2131, 4.1) and probes it by ARP (RFC 5227, 2.1.1), both from
    0.0.0.0. Later it renews the lease by unicast and rebinds by broadcast.
    """
    arp = {"arp": "", "arp_sha": mac}
    yield {"ip": "", "nw_src": ip, "dl_dst": gateway}
    yield arp | {"arp_spa": ip, "dl_dst": gateway}
    for sender in (ip, _NO_ADDRESS):
        yield arp | {"arp_spa": sender, "arp_op": "1", "dl_dst": _BROADCAST}
        yield {"udp": "", "nw_src": sender, "tp_src": "68", "tp_dst": "67", "dl_dst": _BROADCAST}


def _enforced(tap: str, flows: frozenset[Flow]) -> tuple[str | None, str | None, str | None]:
    """Return the MAC, the gateway's MAC and the IP address that flows enforce; None for all if a flow is wrong."""
    mac = _only(flows, "dl_src")
    gateway, ip = _only(flows, "dl_dst", _BROADCAST, _GROUPS), _only(flows, "nw_src", _NO_ADDRESS)
    if mac is None or flows != _guard(tap, mac, gateway, ip, _named(flows)):
        return None, None, None
    return mac, gateway, ip


def _only(flows: frozenset[Flow], key: str, *besides: str) -> str | None:
    """Return the one value that flows match a field with; None if there is none or more than one."""
    parts = (part.partition("=") for one in flows for part in one.match)
    values = {value for name, _, value in parts if name == key and value not in besides}
    return values.pop() if len(values) == 1 else None


def _obstacle(port: Port, fact: PortFact) -> ForeignObject | None:
    if fact.device == "other" or (fact.device and not owns(port, fact.owner)):
        return refuse(port, f"the interface {port.tap}", fact.alias)
    if fact.port is not None and not owns(port, _owner(fact.port)):
        return refuse(port, f"the port {port.tap} of {fact.port.bridge}", _owner(fact.port))
    return None


def _owner(found: SwitchPort | None) -> str:
    return "" if found is None else found.tags.get(TAG, "")


def _unusable(port: Port, fact: PortFact, found: SwitchPort) -> bool:
    """Return whether the port must be created again: the switch is slow to open a TAP that was created again."""
    return not fact.device or found.bridge != port.bridge or found.ofport <= 0


def _connected(port: Port, found: SwitchPort | None) -> bool:
    return found is not None and (found.tag, found.mode, found.trunks, found.protected) == (
        port.vlan,
        "access",
        frozenset(),
        port.gateway_mac is not None,
    )


def _connection(port: Port) -> tuple[tuple[str, ...], ...]:
    """Return the transaction. Ports of guests on the internet VLAN are protected: they never reach each other."""
    protected = "true" if port.gateway_mac else "false"
    columns = (f"tag={port.vlan}", "vlan_mode=access", "trunks=[]", f"protected={protected}")
    return (
        ("--may-exist", "add-port", port.bridge, port.tap),
        ("set", "Port", port.tap, *columns, *switch.external_ids(tags(port))),
    )


def survey(target: SurveyTarget, results: Sequence[Result]) -> Iterator[Found]:
    """Find TAPs by their aliases and claims, and the switch's ports by their tags. A TAP and its port count as one."""
    host = target.host
    ports = switch.parse_ports(host, results[1])
    named = [(tap, owner, index) for tap, owner, index in output.rows(host, results[0], width=3)]
    named += [(port.name, port.tags.get(TAG, ""), "") for port in ports.values()]
    seen: set[tuple[str, Address]] = set()
    for tap, owner, index in named:
        where = tagged(Port, owner)
        if where is None or (tap, where) in seen:
            continue
        seen.add((tap, where))
        on_switch = ports.get(tap)
        port = Port(
            address=where,
            slice=slice_of(Port, where),
            host=host,
            bridge=on_switch.bridge if on_switch else target.bridge,
            tap=tap,
            mac="",
            mtu=0,
            vlan=VlanId(on_switch.tag) if on_switch and on_switch.tag is not None else None,
            gateway_mac=None,
        )
        yield Found(port, index or (on_switch.uuid if on_switch else ""))


SURVEY: Survey[Port] = Survey(
    (script(SURVEY_TAPS, paths.CLAIMS), switch.probe_ports(())), survey, lambda port: port.tap
)
DRIVER = Driver(Port, probe, parse, ensure, remove, observed, SURVEY)
