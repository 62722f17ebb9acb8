"""Connects a link's VLAN to its slice's router: an internal port, an address, DHCP leases, a gateway entry.

The router driver creates the namespace, its rules and the common configuration of its DHCP server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface
from typing import Any

from reconciler.apply.drivers import dhcp, network, paths, switch
from reconciler.apply.drivers.driver import Driver, Found, Survey, SurveyTarget
from reconciler.apply.drivers.network import Link
from reconciler.apply.drivers.ownership import TAG, owns, refuse, slice_of, stop_at, tagged, tags
from reconciler.apply.drivers.switch import SwitchPort
from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Operation, Result, script
from reconciler.errors import ForeignObject, HostError
from reconciler.plan.resources import ROOT, Lease, Router, Segment, address
from reconciler.spec.models.names import Address, VlanId

_HOST = re.compile(r"dhcp-host=(?P<mac>[^,]+)(?P<routed>,set:routed)?,(?P<ip>[^,]+),(?P<hostname>.+)")

# For each interface and path: whether the interface is still in the host's own namespace, then the lines of the file
# at that path, each after a `+`, then a line with a dot.
PROBE_FILES = """
while [ $# -gt 0 ]; do
    if [ -e "/sys/class/net/$1" ]; then echo here; else echo; fi
    if [ -e "$2" ]; then
        while IFS= read -r line; do printf '+%s\\n' "$line"; done < "$2"
    fi
    echo .
    shift 2
done
"""

# Three lines for each namespace: its interfaces with their addresses, the set of gateways, and that of NICs that DHCP
# is for, all as JSON.
PROBE_NAMESPACES = """
for namespace do
    links= gateways= clients=
    if [ -e "/run/netns/$namespace" ]; then
        links=$(ip -n "$namespace" -j address show 2> /dev/null) || :
        gateways=$(ip netns exec "$namespace" nft -j list set inet reconciler gateways 2> /dev/null) || :
        clients=$(ip netns exec "$namespace" nft -j list set inet reconciler clients 2> /dev/null) || :
    fi
    printf '%s\\n' "$links" "$gateways" "$clients"
done
"""

# The internal port appears in the host's own namespace. An interface loses its addresses when it moves.
PLACE = """
interface=$1 namespace=$2 address=$3 mtu=$4
shift 4
if [ -e "/sys/class/net/$interface" ]; then ip link set dev "$interface" netns "$namespace"; fi
for stale do ip -n "$namespace" address delete "$stale" dev "$interface"; done
ip -n "$namespace" address replace "$address" dev "$interface"
ip -n "$namespace" link set dev "$interface" mtu "$mtu" up
"""


# Three lines for each router, and for each part of its DHCP configuration: namespace, interface, owner.
SURVEY_ROUTERS = """
for directory in "$1"/*; do
    [ -d "$directory" ] || continue
    for path in "$directory/owner" "$directory"/conf.d/*.conf; do
        [ -f "$path" ] || continue
        owner= name=${path##*/}
        { IFS= read -r owner || :; } 2> /dev/null < "$path" || :
        case $name in owner) name= ;; esac
        printf '%s\\n' "${directory##*/}" "${name%.conf}" "${owner#'# '}"
    done
done
"""

_NOWHERE = "none"
"""The namespace of a segment whose router is gone: no namespace has this name, so nothing is removed from it."""


@dataclass(frozen=True, slots=True)
class SegmentFact:
    """A segment's port as the switch has it, its interface as the kernel has it, and its part of the router.

    `here` is whether the interface is still in the host's own namespace, `link` the interface in the router's.
    `configuration` is its part of the DHCP server's, empty if there is none, and `clients` are the MACs of NICs whose
    requests reach the server.
    """

    port: SwitchPort | None
    here: bool
    link: Link | None
    forwards: bool
    configuration: str
    clients: frozenset[str]


def probe(segments: Sequence[Segment]) -> tuple[Command, ...]:
    """Return the commands that read the switch, the DHCP configuration, and the namespaces."""
    files = [part for one in segments for part in (one.interface, paths.fragment(one.namespace, one.interface))]
    return (
        switch.probe_ports(segment.interface for segment in segments),
        script(PROBE_FILES, *files),
        script(PROBE_NAMESPACES, *_namespaces(segments)),
    )


def parse(segments: Sequence[Segment], results: Sequence[Result]) -> Mapping[Address, SegmentFact]:
    """Read one fact for each segment."""
    host = segments[0].host
    ports = switch.parse_ports(host, results[0])
    files = _parse_files(host, results[1], len(segments))
    namespaces = _namespaces(segments)
    inside = output.records(host, results[2], count=len(namespaces), width=3)
    links = {name: network.parse_links(host, text) for name, (text, _, _) in zip(namespaces, inside, strict=True)}
    sets = {
        name: [network.parse_set(host, text) for text in texts]
        for name, (_, *texts) in zip(namespaces, inside, strict=True)
    }
    return {
        segment.address: SegmentFact(
            port=ports.get(segment.interface),
            here=here,
            link=links[segment.namespace].get(segment.interface),
            forwards=segment.interface in sets[segment.namespace][0],
            configuration=configuration,
            clients=frozenset(
                mac for name, mac in dhcp.read_clients(sets[segment.namespace][1]) if name == segment.interface
            ),
        )
        for segment, (here, configuration) in zip(segments, files, strict=True)
    }


def ensure(segment: Segment, fact: SegmentFact, _before: Segment | None) -> tuple[Operation, ...]:
    """Create or correct port, address, leases and gateway. What is correct is not touched."""
    stop_at(_obstacle(segment, fact))
    operations: list[Operation] = []
    if fact.forwards and not segment.gateway:
        operations.append(_gateway("delete", segment))
    missing = _must_be_created(segment, fact)
    if missing and fact.port is not None:
        operations.append(switch.transact(switch.delete_port(fact.port.bridge, segment.interface)))
    if missing or not (_connected(segment, fact.port) and _owner(fact.port) == segment.address):
        operations.append(switch.transact(*_connection(segment, create=missing)))
    if missing or fact.link is None or not _placed(segment, fact.link):
        stale = [one for one in (fact.link.addresses if fact.link and not missing else ()) if one != segment.ip]
        operations.append(script(PLACE, segment.interface, segment.namespace, segment.ip, str(segment.mtu), *stale))
    if segment.gateway and not fact.forwards:
        operations.append(_gateway("add", segment))
    operations += _admit(segment, fact, _clients(segment))
    wanted = configuration(segment)
    if fact.configuration != wanted:
        operations.append(_serve(segment, wanted))
    return tuple(operations)


def remove(segment: Segment, fact: SegmentFact) -> tuple[Operation, ...]:
    """Take the segment out of its router, and its port off the bridge."""
    stop_at(_obstacle(segment, fact))
    operations: list[Operation] = []
    if fact.forwards:
        operations.append(_gateway("delete", segment))
    operations += _admit(segment, fact, frozenset())
    if fact.configuration:
        operations.append(_serve(segment, ""))
    if fact.port is not None:
        operations.append(switch.transact(switch.delete_port(fact.port.bridge, segment.interface)))
    return tuple(operations)


def observed(segment: Segment, fact: SegmentFact) -> Mapping[str, Any] | None:
    """Return the attributes as found; leases are those in the DHCP server's configuration."""
    if fact.port is None or _obstacle(segment, fact):
        return None
    leases = _parse_leases(fact.configuration)
    ip = next(iter(fact.link.addresses), None) if fact.link else None
    mtu = fact.link.mtu if fact.link else 0
    found = {
        "bridge": fact.port.bridge,
        "interface": segment.interface,
        "vlan": fact.port.tag if _connected(segment, fact.port) else None,
        "namespace": segment.namespace if fact.link else None,
        "ip": ip if fact.link and fact.link.up and len(fact.link.addresses) == 1 else None,
        "gateway": fact.forwards,
        "mtu": mtu,
    }
    if not segment.dhcp:
        return found | {"dhcp": bool(fact.configuration or fact.clients)}
    as_found = replace(segment, leases=leases, mtu=mtu) if ip else segment
    served = fact.configuration in {configuration(named) for named in _by_each_name(as_found)}
    served = served and fact.clients == _clients(as_found)
    wanted = [
        {"mac": one.mac, "ip": one.ip, "hostname": one.hostname, "default_route": one.default_route} for one in leases
    ]
    return found | {"dhcp": served, "leases": wanted}


def configuration(segment: Segment) -> str:
    """Return the segment's part of its router's DHCP configuration (dnsmasq(8)), empty without DHCP.

    The server answers only NICs with a lease. A lease says whether its VM uses this router; if not, the router option
    is left out, which dnsmasq does for an empty option. The MTU is also sent to clients that do not request it.
    """
    if not segment.dhcp:
        return ""
    router = IPv4Interface(segment.ip)
    name = segment.interface
    lines = [
        f"# {segment.address}",
        f"interface={name}",
        f"dhcp-range={router.network.network_address},static,{router.netmask},12h",
        f"dhcp-option-force=tag:{name},option:mtu,{segment.mtu}",
        f"dhcp-option=tag:{name},tag:routed,option:router,{router.ip}",
        f"dhcp-option=tag:{name},tag:!routed,option:router",
    ]
    for lease in segment.leases:
        routed = ",set:routed" if lease.default_route else ""
        lines.append(f"dhcp-host={lease.mac}{routed},{lease.ip},{dhcp.write_hostname(lease.hostname)}")
    return "\n".join([*lines, ""])


def _by_each_name(segment: Segment) -> Iterator[Segment]:
    """Yield the segment, and as it was before each rename of it."""
    yield segment
    yield from (replace(segment, address=former) for former in segment.formerly)


def _namespaces(segments: Sequence[Segment]) -> list[str]:
    return sorted({segment.namespace for segment in segments})


def _obstacle(segment: Segment, fact: SegmentFact) -> ForeignObject | None:
    name = segment.interface
    if fact.port is not None and not owns(segment, _owner(fact.port)):
        return refuse(segment, f"the port {name} of {fact.port.bridge}", _owner(fact.port))
    if fact.port is None and fact.here:
        return refuse(segment, f"the interface {name}", "")
    if fact.port is None and fact.link is not None:
        return refuse(segment, f"the interface {name} in {segment.namespace}", "")
    return None


def _owner(port: SwitchPort | None) -> str:
    return "" if port is None else port.tags.get(TAG, "")


def _must_be_created(segment: Segment, fact: SegmentFact) -> bool:
    """Return whether the port is missing or unusable: of another type, not opened, or without its interface.

    It is then deleted in its own transaction: within one transaction, the switch would see no change.
    """
    port = fact.port
    if port is None or not (fact.here or fact.link):
        return True
    return port.bridge != segment.bridge or port.type != "internal" or port.ofport <= 0


def _connected(segment: Segment, port: SwitchPort | None) -> bool:
    return port is not None and port.ofport > 0 and (port.tag, port.mode) == (segment.vlan, "access")


def _placed(segment: Segment, link: Link) -> bool:
    return link.up and link.mtu == segment.mtu and link.addresses == (segment.ip,)


def _connection(segment: Segment, *, create: bool) -> list[tuple[str, ...]]:
    name = segment.interface
    ids = switch.external_ids(tags(segment))
    settings = ("set", "Port", name, f"tag={segment.vlan}", "vlan_mode=access", *ids)
    if not create:
        return [settings]
    return [("add-port", segment.bridge, name), settings, ("set", "Interface", name, "type=internal")]


def _gateway(verb: str, segment: Segment) -> Command:
    element = f"{{ {network.literal(segment.interface)} }}"
    argv = ("ip", "netns", "exec", segment.namespace, "nft", verb, "element", "inet", "reconciler", "gateways", element)
    return Command(argv)


def _clients(segment: Segment) -> frozenset[str]:
    """Return the MACs of the NICs that DHCP is for."""
    return frozenset(lease.mac for lease in segment.leases) if segment.dhcp else frozenset()


def _admit(segment: Segment, fact: SegmentFact, wanted: frozenset[str]) -> Iterator[Command]:
    """Let requests of these NICs reach the DHCP server, and no others of this segment."""
    set_, interface = "inet reconciler clients", network.literal(segment.interface)
    lines = [f"add set {set_} {{ typeof iifname . {dhcp.CLIENT}; }}"]  # the rules of an earlier version have none
    for verb, macs in (("delete", fact.clients - wanted), ("add", wanted - fact.clients)):
        lines += [f"{verb} element {set_} {{ {interface} . {dhcp.client(mac)} }}" for mac in sorted(macs)]
    if len(lines) > 1:
        argv = ("ip", "netns", "exec", segment.namespace, "nft", "-f", "-")
        yield Command(argv, stdin="\n".join([*lines, ""]))


def _serve(segment: Segment, text: str) -> Command:
    directory, path = paths.router(segment.namespace), paths.fragment(segment.namespace, segment.interface)
    if not text:
        return dhcp.delete(directory, segment.namespace, path)
    return dhcp.write(directory, segment.namespace, path, text)


def _parse_files(host: str, result: Result, count: int) -> list[tuple[bool, str]]:
    found: list[tuple[bool, str]] = []
    here, lines = False, list[str]()
    for line in output.text(host, result).split("\n"):
        match line:
            case ".":
                found.append((here, "".join(lines)))
                lines = []
            case "here" | "":
                here = line == "here"
            case _:
                lines.append(line[1:] + "\n")
    if len(found) != count:
        raise HostError(host, "the probe of segments printed something unexpected")
    return found


def _parse_leases(text: str) -> tuple[Lease, ...]:
    matches = [match for line in text.split("\n") if (match := _HOST.fullmatch(line))]
    return tuple(
        Lease(match["mac"], match["ip"], dhcp.read_hostname(match["hostname"]), bool(match["routed"]))
        for match in matches
    )


def survey(target: SurveyTarget, results: Sequence[Result]) -> Iterator[Found]:
    """Find segments by the tags of their ports, and by their parts of a router's DHCP configuration."""
    host = target.host
    routers: dict[str, str] = {}
    named: dict[tuple[str, Address], str] = {}
    for namespace, interface, owner in output.rows(host, results[0], width=3):
        if not interface:
            routers[owner] = namespace
        elif (where := tagged(Segment, owner)) is not None:
            named[interface, where] = namespace
    ports = switch.parse_ports(host, results[1])
    for port in ports.values():
        if (where := tagged(Segment, port.tags.get(TAG, ""))) is not None:
            router = address(Router, slice_of(Segment, where) or "")
            named.setdefault((port.name, where), routers.get(router, _NOWHERE))
    for (interface, where), namespace in named.items():
        found = ports.get(interface)
        yield Found(_orphan(target, interface, where, namespace, found), found.uuid if found else "")


def _orphan(target: SurveyTarget, interface: str, where: Address, namespace: str, port: SwitchPort | None) -> Segment:
    return Segment(
        address=where,
        slice=slice_of(Segment, where),
        host=target.host,
        bridge=port.bridge if port else target.bridge,
        namespace=namespace,
        interface=interface,
        vlan=VlanId(port.tag or 0) if port else VlanId(0),
        ip="",
        gateway=False,
        dhcp=False,
        mtu=0,
        leases=(),
    )


SURVEY: Survey[Segment] = Survey(
    (script(SURVEY_ROUTERS, f"{ROOT}/routers"), switch.probe_ports(())), survey, lambda segment: segment.interface
)
DRIVER = Driver(Segment, probe, parse, ensure, remove, observed, SURVEY)
