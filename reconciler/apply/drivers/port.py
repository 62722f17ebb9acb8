"""Creates each NIC's TAP and its port on the bridge, with flows that enforce anti-spoofing.

QEMU keeps a TAP open while it is added to and removed from the bridge, so links change while guests run. A TAP on no
bridge stays down, because the worker itself would answer on it. A TAP on a bridge is up, and the worker ignores it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.apply.drivers import bridge, paths, switch
from reconciler.apply.drivers.driver import Driver, Found, Survey, SurveyTarget
from reconciler.apply.drivers.ownership import TAG, owns, refuse, slice_of, stop_at, tagged, tags
from reconciler.apply.drivers.switch import Flow, SwitchPort
from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Operation, Result, script
from reconciler.errors import ForeignObject
from reconciler.plan.resources import Port
from reconciler.spec.models.names import Address, VlanId

_LIMIT, _ALLOW, _DROP = 210, 200, 190
_TAP = re.compile(r"tap(?P<vm>[0-9]+)-(?P<nic>[0-9]+)")
_UP = 0x1  # IFF_UP of linux/if.h
_BROADCAST = "ff:ff:ff:ff:ff:ff"
_GROUPS = "01:00:00:00:00:00/01:00:00:00:00:00"  # all broadcasts and multicasts
_NO_ADDRESS = "0.0.0.0"  # noqa: S104 - the sender address before a guest has one; nothing is bound to it
# No 802.1Q header at all, as `ovs-ofctl dump-flows` writes it.
_UNTAGGED = "0x0000/0x1fff"

# Six lines for each TAP: tap, other or nothing; alias; claim; MTU; flags; whether the keeper of flows keeps meters.
PROBE = """
claims=$1 keeper=$2 meters=
shift 2
if grep -qs 'dump-meters' "$keeper"; then meters=kept; fi
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


@dataclass(frozen=True, slots=True)
class PortFact:
    """A TAP as the kernel has it, its port as the switch has it, and the flows of its cookie.

    `guarded` is whether its bridge fails closed, with its flows loaded, and `kept` whether meters are loaded again when
    the switch restarts. `meter` is how many packets the port's meter passes in a second, None if there is none.
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
    kept: bool
    meter: int | None

    @property
    def owner(self) -> str:
        """The address of the resource that the TAP belongs to, or other text in its alias."""
        return self.alias or self.claim


def probe(ports: Sequence[Port]) -> tuple[Command, ...]:
    """Return the commands that read the TAPs, the switch's ports, and the flows and meters of each bridge."""
    taps = [port.tap for port in ports]
    bridges = sorted({port.bridge for port in ports})
    flows = [switch.probe_flows(name) for name in bridges]
    meters = [switch.probe_meters(name) for name in bridges]
    return script(PROBE, paths.CLAIMS, bridge.KEEPER, *taps), switch.probe_ports(taps), *flows, *meters


def parse(ports: Sequence[Port], results: Sequence[Result]) -> Mapping[Address, PortFact]:
    """Read one fact for each port."""
    host = ports[0].host
    devices = output.records(host, results[0], count=len(ports), width=6)
    on_switch = switch.parse_ports(host, results[1])
    bridges = sorted({port.bridge for port in ports})
    flows = {name: switch.parse_flows(host, result) for name, result in zip(bridges, results[2:], strict=False)}
    rest = results[2 + len(bridges) :]
    meters = {name: switch.parse_meters(host, result) for name, result in zip(bridges, rest, strict=True)}
    return {
        port.address: PortFact(
            device=device,
            alias=alias,
            claim=claim,
            mtu=output.number(mtu),
            up=bool(output.number(flags, 16) & _UP),
            port=on_switch.get(port.tap),
            flows=flows[port.bridge].get(switch.cookie(port.tap), frozenset()),
            guarded=bridge.guarded(flows[port.bridge]),
            kept=kept == "kept",
            meter=meters[port.bridge].get(meter_number(port.tap)),
        )
        for port, (device, alias, claim, mtu, flags, kept) in zip(ports, devices, strict=True)
    }


def ensure(port: Port, fact: PortFact, _before: Port | None) -> tuple[Operation, ...]:
    """Create or correct TAP, port and flows. What is correct is not touched, so a running guest keeps its NIC."""
    stop_at(_obstacle(port, fact))
    operations: list[Operation] = []
    unguarded = port.vlan is not None and not fact.guarded
    if unguarded or (port.broadcast is not None and not fact.kept):
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
    return (*operations, *_set_flows(port, fact, whole=found is not None and not unguarded))


def _set_flows(port: Port, fact: PortFact, *, whole: bool) -> Iterator[Command]:
    """Yield the commands that load the port's flows, and its meter before them; the keeper saves it with the flows."""
    wanted, number = guard(port), meter_number(port.tap)
    limit = port.broadcast if wanted else None
    metered = fact.meter == limit and (fact.kept or limit is None)
    if limit is not None and not metered:
        yield switch.set_meter(port.bridge, number, limit)
    if fact.flows != wanted or (wanted and not (whole and metered)):
        earlier = fact.flows if whole or not wanted else fact.flows | wanted
        yield switch.set_flows(port.bridge, switch.cookie(port.tap), earlier, wanted)
    if limit is None and fact.meter is not None:
        yield switch.delete_meter(port.bridge, number)


def remove(port: Port, fact: PortFact) -> tuple[Operation, ...]:
    """Take the port off the bridge, then its flows, then the TAP."""
    stop_at(_obstacle(port, fact))
    operations: list[Operation] = []
    if fact.port is not None:
        operations.append(switch.transact(switch.delete_port(fact.port.bridge, port.tap)))
    if fact.flows:
        operations.append(switch.set_flows(port.bridge, switch.cookie(port.tap), fact.flows, frozenset()))
    if fact.meter is not None:
        operations.append(switch.delete_meter(port.bridge, meter_number(port.tap)))
    if fact.device or fact.claim:
        operations.append(script(REMOVE, port.tap, paths.CLAIMS))
    return tuple(operations)


def observed(port: Port, fact: PortFact) -> Mapping[str, Any] | None:
    """Return the attributes as found; `mac`, `gateway_mac`, `ip` and `broadcast` are those that the flows enforce.

    If the TAP is gone, the resource does not exist, even if its port is still on the bridge: QEMU has the deleted TAP
    open, and a new one would not reach the guest.
    """
    if not fact.device or _obstacle(port, fact):
        return None
    found: dict[str, Any] = {"tap": port.tap, "mtu": fact.mtu}
    found |= dict.fromkeys(("vlan", "gateway_mac", "ip", "broadcast"))
    if fact.port is None:
        return found
    access = fact.port.mode == "access" and not fact.port.trunks
    works = fact.up and fact.port.ofport > 0 and access and fact.guarded
    mac, gateway, ip, limited = _enforced(port.tap, fact.flows)
    return found | {
        "bridge": fact.port.bridge,
        "vlan": fact.port.tag if works else None,
        "mac": mac,
        "gateway_mac": gateway if fact.port.protected else None,
        "ip": ip,
        "broadcast": fact.meter if limited and fact.kept else None,
    }


def meter_number(tap: str) -> int:
    """Return the number of a TAP's meter on its bridge: a datapath of the kernel has 200,000.

    Ids of VMs only grow, so two VMs of a host could have the same one if 6000 were made between them. They would then
    share a limit. A name without an id gets a number by its digest.
    """
    match = _TAP.fullmatch(tap)
    number = int(match["vm"]) * 32 + int(match["nic"]) if match else switch.cookie(tap)
    return number % (6000 * 32) + 1


def guard(port: Port) -> frozenset[Flow]:
    """Return the flows of a port: frames with another sender's MAC or an 802.1Q tag are dropped.

    With a limit, broadcasts and multicasts pass the port's meter first.

    On the internet VLAN a guest may send only to the gateway, and only from the port's own IP address: by unicast, and
    by the broadcasts that ARP and DHCP need. A port without an address there may send nothing.
    """
    if port.vlan is None:
        return frozenset()
    return _guard(port.tap, port.mac, port.gateway_mac, port.ip, limited=port.broadcast is not None)


def _guard(tap: str, mac: str, gateway: str | None, ip: str | None, *, limited: bool) -> frozenset[Flow]:
    drop = switch.flow(_DROP, "drop", in_port=tap)
    own = {"in_port": tap, "vlan_tci": _UNTAGGED, "dl_src": mac}
    to_all = f"meter:{meter_number(tap)},NORMAL" if limited else "NORMAL"
    if gateway is None:
        groups = {switch.flow(_LIMIT, to_all, **own, dl_dst=_GROUPS)} if limited else set()
        return frozenset({drop, switch.flow(_ALLOW, "NORMAL", **own), *groups})
    if ip is None:
        return frozenset({drop})
    permitted = [own | match for match in _permitted(mac, gateway, ip)]
    return frozenset(
        {drop, *(switch.flow(_ALLOW, to_all if one["dl_dst"] == _BROADCAST else "NORMAL", **one) for one in permitted)}
    )


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


def _enforced(tap: str, flows: frozenset[Flow]) -> tuple[str | None, str | None, str | None, bool]:
    """Return the MAC, the gateway's MAC and the IP address that flows enforce, and whether they limit broadcasts.

    It is None for all if a flow is wrong.
    """
    mac = _only(flows, "dl_src")
    gateway, ip = _only(flows, "dl_dst", _BROADCAST, _GROUPS), _only(flows, "nw_src", _NO_ADDRESS)
    limited = any(one.actions.startswith("meter:") for one in flows)
    if mac is None or flows != _guard(tap, mac, gateway, ip, limited=limited):
        return None, None, None, False
    return mac, gateway, ip, limited


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
