"""Reads and changes ports, mirrors and flows of Open vSwitch.

`ovs-vsctl` and `ovs-ofctl` are documented in their manual pages, the columns in ovs-vswitchd.conf.db(5).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Result, script
from reconciler.errors import HostError

_SECONDS = 10
_OFCTL = ("ovs-ofctl", f"--timeout={_SECONDS}")
_WITH_METERS = ("-O", "OpenFlow13")
_COOKIE_PREFIX = 0x7263 << 48
_COOKIE_MASK = 0xFFFF << 48
OURS = f"cookie={_COOKIE_PREFIX:#x}/{_COOKIE_MASK:#x}"
"""Matches our flows in `ovs-ofctl dump-flows`: those whose cookie has our prefix."""

OUR_COOKIES = f" cookie={_COOKIE_PREFIX >> 48:#x}[0-9a-f]{{12}},"
"""Matches the lines of our flows in the output of `ovs-ofctl dump-flows`, as an extended regular expression."""

_SECTIONS = (
    ("Port", "_uuid,name,tag,vlan_mode,trunks,protected,qos,external_ids"),
    ("Interface", "name,type,ofport,error"),
    ("Bridge", "name,ports"),
)

_MIRRORING = (
    ("Mirror", "_uuid,name,select_all,select_src_port,select_dst_port,select_vlan,output_port,output_vlan"),
    ("Port", "_uuid,name"),
    ("Bridge", "name,mirrors"),
)

# ovs-vsctl waits until the switch has applied the change. It prints what failed, but its exit status does not show it.
_TRANSACT = """
message=$(ovs-vsctl "$@" 2>&1) || { printf '%s\\n' "$message" >&2; exit 1; }
case $message in *"Error detected"*) printf '%s\\n' "$message" >&2; exit 1 ;; esac
"""


_KEYS = ("cookie=", "priority=", "table=")
_FLAG = "reset_counts"
_FIRST = re.compile(r"meter:(\d+),")
_METER = re.compile(
    r"meter=(?P<number>\d+) (?P<unit>pktps|kbps) burst bands=\s*type=drop rate=(?P<rate>\d+) burst_size=(?P<burst>\d+)"
)
_SET_METER = """
of() { ovs-ofctl --timeout=10 -O OpenFlow13 "$@"; }
of add-meter "$1" "$2" 2> /dev/null || of mod-meter "$1" "$2"
"""
_DELETE_METER = """
of() { ovs-ofctl --timeout=10 -O OpenFlow13 "$@"; }
if ! of dump-flows "$1" | grep -q "actions=meter:$2,"; then of del-meter "$1" "meter=$2"; fi
"""


@dataclass(frozen=True, slots=True)
class SwitchPort:
    """A port as the switch has it. `ofport` is its OpenFlow number, 0 or less if the switch could not open it.

    `uuid` distinguishes a port from a later one of the same name. `qos` is its entry of the table QoS, if it has one.
    """

    name: str
    bridge: str
    tag: int | None = None
    mode: str | None = None
    trunks: frozenset[int] = frozenset()
    protected: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    type: str = ""
    ofport: int = 0
    error: str = ""
    qos: str | None = None
    uuid: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class SwitchMirror:
    """A mirror of a bridge. `ports` are those whose frames it copies, limited to `vlans` if there are any.

    The copies go to a port, or to all ports of a VLAN.
    """

    name: str
    bridge: str
    all: bool
    ports: frozenset[str]
    vlans: frozenset[int]
    to_port: str | None
    to_vlan: int | None


@dataclass(frozen=True, slots=True)
class Flow:
    """An OpenFlow rule: `actions` apply to frames with all of `match`, written as in ovs-fields(7)."""

    priority: int
    match: frozenset[str]
    actions: str
    table: int = 0

    def __str__(self) -> str:
        """Return it in the syntax of ovs-ofctl."""
        table = f"table={self.table}," if self.table else ""
        return f"{table}priority={self.priority},{','.join(sorted(self.match))},actions={self.actions}"

    @property
    def meter(self) -> int | None:
        """The number of the meter that frames pass first."""
        found = _FIRST.match(self.actions)
        return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter of a bridge: so many packets (`pktps`) or kilobits (`kbps`) pass in a second, others are dropped.

    `burst` is how many pass at once after a pause.
    """

    unit: str
    rate: int
    burst: int


def flow(priority: int, actions: str, **match: str) -> Flow:
    """Return a flow. An empty value means that the key is a protocol, such as `arp=""`."""
    return Flow(priority, frozenset(f"{key}={value}" if value else key for key, value in match.items()), actions)


def probe_ports(names: Iterable[str]) -> Command:
    """Return the command that reads these ports, or all if none are named, their interfaces, and their bridges."""
    wanted = sorted(set(names))
    argv = ["ovs-vsctl", f"--timeout={_SECONDS}", "--format=json"]
    for table, columns in _SECTIONS:
        rows = [] if table == "Bridge" else wanted
        argv += ["--", "--if-exists", f"--columns={columns}", "list", table, *rows]
    return Command(tuple(argv))


def parse_ports(host: str, result: Result) -> Mapping[str, SwitchPort]:
    """Return the ports that exist, by name; raises HostError if the output cannot be parsed."""
    lines = [line for line in output.text(host, result).split("\n") if line]
    try:
        ports, interfaces, bridges = ([*_rows(json.loads(line))] for line in lines)
        holders = {port: str(row["name"]) for row in bridges for port in _set(row["ports"])}
        by_name = {row["name"]: row for row in interfaces}
        return {row["name"]: _port(row, by_name.get(row["name"], {}), holders) for row in ports}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(host, f"ovs-vsctl printed something unexpected: {error}") from error


def probe_mirrors() -> Command:
    """Return the command that reads all mirrors, and the names of their ports and bridges."""
    argv = ["ovs-vsctl", f"--timeout={_SECONDS}", "--format=json"]
    for table, columns in _MIRRORING:
        argv += ["--", f"--columns={columns}", "list", table]
    return Command(tuple(argv))


def parse_mirrors(host: str, result: Result) -> Iterable[SwitchMirror]:
    """Return the mirrors; raises HostError if the output cannot be parsed."""
    lines = [line for line in output.text(host, result).split("\n") if line]
    try:
        mirrors, ports, bridges = ([*_rows(json.loads(line))] for line in lines)
        names = {row["_uuid"][1]: str(row["name"]) for row in ports}
        holders = {mirror: str(row["name"]) for row in bridges for mirror in _set(row["mirrors"])}
        return [_mirror(row, names, holders) for row in mirrors]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(host, f"ovs-vsctl printed something unexpected: {error}") from error


def _mirror(row: Mapping[str, Any], names: Mapping[str, str], holders: Mapping[str, str]) -> SwitchMirror:
    selected = [*_set(row["select_src_port"]), *_set(row["select_dst_port"])]
    return SwitchMirror(
        name=row["name"],
        bridge=holders.get(row["_uuid"][1], ""),
        all=row["select_all"] is True,
        ports=frozenset(names[one] for one in selected if one in names),
        vlans=frozenset(_set(row["select_vlan"])),
        to_port=next((names[one] for one in _set(row["output_port"]) if one in names), None),
        to_vlan=next(iter(_set(row["output_vlan"])), None),
    )


def probe_flows(bridge: str) -> Command:
    """Return the command that reads our flows of a bridge. OpenFlow 1.0 would leave out the meters in their actions."""
    return Command((*_OFCTL, *_WITH_METERS, "--names", "--no-stats", "dump-flows", bridge, OURS))


def parse_flows(host: str, result: Result) -> Mapping[int, frozenset[Flow]]:
    """Return our flows by their cookie. One that was loaded by OpenFlow 1.0 has a flag, which means nothing to us."""
    found: dict[int, frozenset[Flow]] = {}
    for line in output.text(host, result).split("\n"):
        head, _, actions = line.strip().rpartition(" actions=")
        parts = [part for part in re.split(r"[,\s]+", head.replace('"', "")) if part not in {"", _FLAG}]
        named = dict(part.split("=", 1) for part in parts if part.startswith(_KEYS))
        match = frozenset(part for part in parts if not part.startswith(_KEYS))
        cookie = output.number(named.get("cookie", ""), 16)
        table = output.number(named.get("table", "0"))
        one = Flow(output.number(named.get("priority", "")), match, actions, table)
        if cookie:
            found[cookie] = found.get(cookie, frozenset()) | {one}
    return found


def cookie(name: str) -> int:
    """Return the cookie for a name: our prefix, and 48 bits of the name's SHA-256."""
    return _COOKIE_PREFIX | int.from_bytes(sha256(name.encode()).digest()[:6])


def set_flows(bridge: str, number: int, found: frozenset[Flow], wanted: frozenset[Flow]) -> Command:
    """Return the command that replaces the flows found with the same cookie.

    A replacement is one transaction, so that no frame passes in between. If there were none, or will be none, plain
    commands are enough: they take 5 ms, a transaction 19, and flows that drop are added first.
    """
    metered = any(one.meter is not None for one in wanted)
    start = (*_OFCTL, "-O", "OpenFlow14") if metered else _OFCTL
    if not wanted:
        return Command((*start, "del-flows", bridge, f"cookie={number:#x}/-1"))
    lines = [f"add cookie={number:#x},{one}" for one in sorted(wanted, key=lambda one: (one.priority, str(one)))]
    if not found:
        return Command((*start, "add-flows", bridge, "-"), stdin="\n".join([*lines, ""]))
    delete = f"delete cookie={number:#x}/-1"
    return Command((*start, "--bundle", "add-flows", bridge, "-"), stdin="\n".join([delete, *lines, ""]))


def probe_meters(bridge: str) -> Command:
    """Return the command that reads the meters of a bridge."""
    return Command((*_OFCTL, *_WITH_METERS, "dump-meters", bridge))


def parse_meters(host: str, result: Result) -> Mapping[int, Meter]:
    """Return the meters by their numbers; those of another form are left out."""
    found = _METER.finditer(output.text(host, result))
    return {int(one["number"]): Meter(one["unit"], int(one["rate"]), int(one["burst"])) for one in found}


def set_meter(bridge: str, number: int, meter: Meter) -> Command:
    """Return the command that creates a meter or changes it."""
    band = f"band=type=drop,rate={meter.rate},burst_size={meter.burst}"
    return script(_SET_METER, bridge, f"meter={number},{meter.unit},burst,{band}")


def delete_meter(bridge: str, number: int) -> Command:
    """Return the command that deletes a meter, unless a flow uses it: the flow would be deleted too."""
    return script(_DELETE_METER, bridge, str(number))


def transact(*commands: Sequence[str]) -> Command:
    """Return the command that makes these changes in one transaction, and fails with the switch's message."""
    argv = [f"--timeout={_SECONDS}"]
    for one in commands:
        argv += ["--", *one]
    return script(_TRANSACT, *argv)


def delete_port(bridge: str, name: str) -> tuple[str, ...]:
    """Return the part of a transaction that removes a port from its bridge."""
    return ("--if-exists", "del-port", bridge, name)


def external_ids(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return tags as arguments of `set`. Values are quoted because addresses contain colons."""
    return tuple(f"external_ids:{key}={json.dumps(value)}" for key, value in tags.items())


def _rows(table: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for row in table["data"]:
        yield dict(zip(table["headings"], row, strict=True))


def _port(row: Mapping[str, Any], interface: Mapping[str, Any], holders: Mapping[str, str]) -> SwitchPort:
    numbers = [*_set(interface.get("ofport", ["set", []]))]
    return SwitchPort(
        name=row["name"],
        bridge=holders.get(row["_uuid"][1], ""),
        tag=next(iter(_set(row["tag"])), None),
        mode=next(iter(_set(row["vlan_mode"])), None),
        trunks=frozenset(_set(row["trunks"])),
        protected=row["protected"] is True,
        tags=dict(row["external_ids"][1]),
        type=interface.get("type", ""),
        ofport=numbers[0] if numbers else 0,
        error="".join(_set(interface.get("error", ["set", []]))),
        qos=next(iter(_set(row.get("qos", ["set", []]))), None),
        uuid=str(row["_uuid"][1]),
    )


def _set(value: Any) -> Iterable[Any]:
    """Yield the members of a column: OVSDB writes one member bare, more or none as `["set", [...]]` (RFC 7047, 5.1)."""
    match value:
        case ["set", members]:
            for member in members:
                yield from _set(member)
        case ["uuid", name]:
            yield name
        case _:
            yield value
