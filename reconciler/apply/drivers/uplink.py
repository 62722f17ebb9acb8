"""Creates the gateway of the internet VLAN on the network node: an internal port, DHCP, and NAT to the uplink.

Through it, guests reach only the outside: not each other, not the node's other networks, and the node itself only for
DHCP and a ping of the gateway's address. Whatever the uplink leads to, they reach no host, no link-local or metadata
address, and of private networks and networks of hosts only those that the cluster file opens. A host has one gateway.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, collapse_addresses
from typing import Any

from reconciler.apply.drivers import dhcp, network, paths, switch
from reconciler.apply.drivers.driver import Driver, Found, Survey, SurveyTarget
from reconciler.apply.drivers.network import Link
from reconciler.apply.drivers.ownership import TAG, list_files, parse_files, refuse, stop_at, tagged, tags
from reconciler.apply.drivers.switch import SwitchPort
from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Operation, Result, script
from reconciler.errors import ForeignObject
from reconciler.plan.resources import Uplink
from reconciler.spec.models.cluster import NEVER, PRIVATE
from reconciler.spec.models.names import Address, VlanId

_TABLE = "inet reconciler_uplink"
_FIELDS = 9

_METADATA = ("100.100.100.200/32", "168.63.129.16/32")
"""Metadata services of clouds outside of the link-local network: Alibaba's and Azure's."""

# Nine lines for each interface and uplink: owner; the uplink in use; its forwarding before ours; the policy of the
# rules; the uplink's forwarding now; that of the interface; whether the rules are as loaded; whether the DHCP server
# runs; the interface as JSON. Then the lines of the DHCP server's configuration, each after a `+`, and a dot.
PROBE = (
    dhcp.FIND
    + """
directory=$1 table=$2 sysctl=/proc/sys/net/ipv4/conf
shift 2
# The shell reads byte by byte, and a sysctl ends after the first: enough for a digit, and no failure.
forwarding() {
    value=
    if [ -e "$sysctl/$1/forwarding" ]; then read -r value < "$sysctl/$1/forwarding" || :; fi
    printf '%s\\n' "$value"
}
while [ $# -gt 0 ]; do
    owner= used= saved= policy= rules= server= link=
    if [ -e "$directory/owner" ]; then
        {
            IFS= read -r owner; IFS= read -r _; IFS= read -r used; IFS= read -r saved; IFS= read -r policy
        } < "$directory/owner" || :
    fi
    if [ -e "$directory/ruleset" ]; then
        # shellcheck disable=SC2086  # a family and a name
        live=$(nft -s -t list table $table 2> /dev/null) || :
        if [ "$live" = "$(cat "$directory/ruleset")" ]; then rules=yes; fi
    fi
    find_server "$directory"
    if [ -n "$pid" ]; then server=yes; fi
    if [ -e "/sys/class/net/$1" ]; then link=$(ip -j address show dev "$1"); fi
    printf '%s\\n' "$owner" "$used" "$saved" "$policy"
    forwarding "$2"
    forwarding "$1"
    printf '%s\\n' "$rules" "$server" "$link"
    if [ -e "$directory/dnsmasq.conf" ]; then
        while IFS= read -r line; do printf '+%s\\n' "$line"; done < "$directory/dnsmasq.conf"
    fi
    echo .
    shift 2
done
"""
)

# The node would send what it has for these networks to the guests: its own default gateway may be there.
FREE = (
    network.OVERLAP
    + """
found=$(overlap "$1" "$2")
if [ -n "$found" ]; then
    echo "internet.subnet $1 overlaps a route of this host: $found" >&2
    exit 1
fi
"""
)

# The owner file is written first: it has the owner, and the uplink's earlier forwarding setting. The policy is added
# when the rules are loaded, and forwarding is switched on last. The networks that hosts are in are read from the
# routes: one rule closes each, in the same transaction. The contents of sets are not listed, because one has the
# connections of guests.
CREATE = """
directory=$1 address=$2 interface=$3 uplink=$4 ip=$5 table=$6 rules=$7 policy=$8
shift 8
umask 022
sysctl=/proc/sys/net/ipv4/conf
used= saved=
if [ -e "$directory/owner" ]; then
    { read -r _; read -r _; read -r used; read -r saved; } < "$directory/owner" || :
fi
if [ "$used" != "$uplink" ]; then
    if [ -n "$saved" ] && [ -e "$sysctl/$used/forwarding" ]; then echo "$saved" > "$sysctl/$used/forwarding"; fi
    read -r saved < "$sysctl/$uplink/forwarding" || :
fi
mkdir -p -- "$directory/hosts.d"
printf '%s\\n' "$address" "$interface" "$uplink" "$saved" > "$directory/owner"
for setting in ipv4/conf/"$interface"/rp_filter=1 ipv4/conf/"$interface"/arp_ignore=1 \\
    ipv4/conf/"$interface"/send_redirects=0 ipv6/conf/"$interface"/disable_ipv6=1; do
    if [ -e "/proc/sys/net/${setting%=*}" ]; then echo "${setting#*=}" > "/proc/sys/net/${setting%=*}"; fi
done
ip address replace "$ip" dev "$interface"
ip link set dev "$interface" up
{
    printf '%s' "$rules"
    for host do ip -4 -o route show match "$host" scope link; done | while read -r network _; do
        case $network in default) ;; *) echo "add rule $table private ip daddr $network drop" ;; esac
    done | sort -u
    for path in "$directory"/hosts.d/*; do
        if [ -e "$path" ]; then { read -r _; IFS=, read -r mac _; } < "$path" || :; else mac=; fi
        case $mac in
            *[!0-9a-f:]*) ;;
            ??:??:??:??:??:??) echo "add element $table clients { $mac . 0x$(echo "$mac" | tr -d :) }" ;;
        esac
    done
} | nft -f -
# shellcheck disable=SC2086  # a family and a name
nft -s -t list table $table > "$directory/ruleset"
printf '%s\\n' "$address" "$interface" "$uplink" "$saved" "$policy" > "$directory/owner"
echo 1 > "$sysctl/$interface/forwarding"
echo 1 > "$sysctl/$uplink/forwarding"
"""

SERVE = (
    dhcp.START_SERVER
    + """
umask 022
printf '%s' "$2" > "$1/dnsmasq.conf"
stop_server "$1"
start_server "$1" ""
"""
)

# Forwarding is switched off first, and the owner file is deleted last.
REMOVE = (
    dhcp.STOP_SERVER
    + """
used= saved=
if [ -e "$1/owner" ]; then
    { read -r _; read -r _; read -r used; read -r saved; } < "$1/owner" || :
fi
if [ -n "$saved" ] && [ -e "/proc/sys/net/ipv4/conf/$used/forwarding" ]; then
    echo "$saved" > "/proc/sys/net/ipv4/conf/$used/forwarding"
fi
stop_server "$1"
printf 'add table %s\\ndelete table %s\\n' "$2" "$2" | nft -f -
ovs-vsctl --timeout=10 --if-exists del-port "$3" "$4"
rm -rf -- "$1"
"""
)


@dataclass(frozen=True, slots=True)
class UplinkFact:
    """The gateway as found: its port, interface, rules and DHCP server.

    `used` is the uplink that the rules name, `saved` its forwarding before ours (`0` or `1`), `policy` the text that
    tells what the rules close and limit, `uplink_forwards` its forwarding now, and `rules` whether the rules are as
    they were loaded.
    """

    owner: str
    used: str
    saved: str
    policy: str
    uplink_forwards: bool
    forwards: bool
    rules: bool
    server: bool
    link: Link | None
    configuration: str
    port: SwitchPort | None


def probe(uplinks: Sequence[Uplink]) -> tuple[Command, ...]:
    """Return the commands that read the switch, the interface, the rules and the DHCP server."""
    interfaces = [part for uplink in uplinks for part in (uplink.interface, uplink.uplink)]
    return (
        switch.probe_ports(uplink.interface for uplink in uplinks),
        script(PROBE, paths.UPLINK, _TABLE, *interfaces),
    )


def parse(uplinks: Sequence[Uplink], results: Sequence[Result]) -> Mapping[Address, UplinkFact]:
    """Read one fact for each uplink."""
    host = uplinks[0].host
    ports = switch.parse_ports(host, results[0])
    lines = output.text(host, results[1]).split("\n")
    found = {}
    for uplink in uplinks:
        end = lines.index(".") if "." in lines else 0
        fields, lines, configuration = lines[:_FIELDS], lines[end + 1 :], lines[_FIELDS:end]
        output.expect(host, end >= _FIELDS, "the probe of the uplink")
        owner, used, saved, policy, uplink_forwards, forwards, rules, server, link = fields
        found[uplink.address] = UplinkFact(
            owner=owner,
            used=used,
            saved=saved,
            policy=policy,
            uplink_forwards=uplink_forwards == "1",
            forwards=forwards == "1",
            rules=rules == "yes",
            server=server == "yes",
            link=network.parse_links(host, link).get(uplink.interface),
            configuration="".join(f"{line[1:]}\n" for line in configuration),
            port=ports.get(uplink.interface),
        )
    return found


def ensure(uplink: Uplink, fact: UplinkFact, _before: Uplink | None) -> tuple[Operation, ...]:
    """Create or correct the gateway. Rules are loaded in one transaction, and nothing is forwarded before that."""
    stop_at(_obstacle(uplink, fact))
    operations: list[Operation] = []
    if not _placed(uplink, fact):
        operations.append(script(FREE, str(IPv4Interface(uplink.ip).network), uplink.interface))
    create = fact.port is None or fact.link is None or fact.port.ofport <= 0 or fact.port.bridge != uplink.bridge
    if create and fact.port is not None:
        operations.append(switch.transact(switch.delete_port(fact.port.bridge, uplink.interface)))
    if create or not _connected(uplink, fact):
        operations.append(switch.transact(*_connection(uplink, create=create)))
    if create or not _placed(uplink, fact):
        arguments = (uplink.interface, uplink.uplink, uplink.ip, _TABLE, ruleset(uplink, fact), _policy(uplink))
        operations.append(script(CREATE, paths.UPLINK, uplink.address, *arguments, *uplink.hosts))
    wanted = configuration(uplink)
    if fact.configuration != wanted or not fact.server:
        operations.append(script(SERVE, paths.UPLINK, wanted))
    return tuple(operations)


def remove(uplink: Uplink, fact: UplinkFact) -> tuple[Operation, ...]:
    """Stop DHCP, NAT and forwarding, and remove the port from the bridge."""
    stop_at(_obstacle(uplink, fact))
    if not (fact.owner or fact.port or fact.server):
        return ()
    bridge = fact.port.bridge if fact.port else uplink.bridge
    return (script(REMOVE, paths.UPLINK, _TABLE, bridge, uplink.interface),)


def observed(uplink: Uplink, fact: UplinkFact) -> Mapping[str, Any] | None:
    """Return the attributes as found: the uplink only if the rules are loaded, DNS only if DHCP is served."""
    if (fact.port is None and not fact.owner) or _obstacle(uplink, fact):
        return None
    link = fact.link
    policy = _parse_policy(fact.policy) if fact.rules else {}
    forwards = fact.rules and fact.forwards and (fact.uplink_forwards or fact.used != uplink.uplink)
    forwards = forwards and policy.get("clients") == _CLIENTS
    dns = next((line for line in fact.configuration.split("\n") if line.startswith(_DNS)), "")
    return {
        "bridge": fact.port.bridge if fact.port else None,
        "interface": uplink.interface if link else None,
        "vlan": fact.port.tag if fact.port else None,
        "ip": link.addresses[0] if link and link.up and len(link.addresses) == 1 else None,
        "mac": link.mac if link else None,
        "uplink": fact.used if forwards else None,
        "dns": [one for one in dns.removeprefix(_DNS).split(",") if one] if fact.server else None,
        "hosts": policy.get("hosts", []),
        "allow_private": policy.get("allow_private", []),
        "connections": policy.get("connections"),
    }


def ruleset(uplink: Uplink, fact: UplinkFact) -> str:
    """Return the gateway's rules for `nft -f`, which replaces earlier ones in one transaction.

    If the uplink did not forward before, only replies to guests are forwarded from it.
    """
    inside, outside = network.literal(uplink.interface), network.literal(uplink.uplink)
    gateway = IPv4Interface(uplink.ip)
    forwarded_before = fact.saved == "1" if fact.used == uplink.uplink else fact.uplink_forwards
    own = f"iifname {inside} ip saddr {gateway.network} "
    closed = "" if forwarded_before else f"\n        iifname {outside} drop"
    return f"""add table {_TABLE}
delete table {_TABLE}
table {_TABLE} {{
    set clients {{
        typeof {dhcp.CLIENT};
    }}
    set connections {{
        type ipv4_addr; size 65535; flags dynamic;
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname {inside} oifname {outside} jump guests
        iifname {outside} oifname {inside} ct state established,related accept
        iifname {inside} drop
        oifname {inside} drop{closed}
    }}
    chain guests {{
        ip daddr {{ {", ".join(_never(uplink))} }} drop
{_limit(uplink)}{_opened(uplink)}        jump private
        accept
    }}
    chain private {{
        ip daddr {{ {", ".join(map(str, PRIVATE))} }} drop
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
{_limit(uplink, own)}        iifname {inside} ip daddr {gateway.ip} meta l4proto icmp accept
        iifname {inside} udp dport 67 {dhcp.CLIENT} @clients accept
        iifname {inside} udp dport 67 drop
        iifname {inside} ct state established,related accept
        iifname {inside} drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {gateway.network} oifname {outside} masquerade
    }}
}}
"""


def _never(uplink: Uplink) -> list[str]:
    """Return what no guest reaches, as networks that do not overlap."""
    return [str(one) for one in collapse_addresses(map(IPv4Network, (*map(str, NEVER), *_METADATA, *uplink.hosts)))]


def _limit(uplink: Uplink, match: str = "") -> str:
    """Return the rule that bounds the connections of each guest; dropped packets are not tracked."""
    if uplink.connections is None:
        return ""
    return f"        {match}ct state new add @connections {{ ip saddr ct count over {uplink.connections} }} drop\n"


def _opened(uplink: Uplink) -> str:
    """Return the rules for what is open in private networks: DNS servers of the guests, and named networks."""
    lines = []
    if uplink.dns:
        lines.append(
            f"ip daddr {{ {', '.join(sorted(set(uplink.dns)))} }} meta l4proto {{ tcp, udp }} th dport 53 accept"
        )
    if uplink.allow_private:
        networks = collapse_addresses(map(IPv4Network, uplink.allow_private))
        lines.append(f"ip daddr {{ {', '.join(map(str, networks))} }} accept")
    return "".join(f"        {line}\n" for line in lines)


def _policy(uplink: Uplink) -> str:
    """Return what the rules close and limit as one line of JSON; `_parse_policy` reads it."""
    names = ("allow_private", "connections", "dns", "hosts")
    return json.dumps({name: getattr(uplink, name) for name in names} | {"clients": _CLIENTS})


def _parse_policy(text: str) -> Mapping[str, Any]:
    """Return the policy that was written when rules were loaded; an earlier version wrote none."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


_CLIENTS = "for themselves"
"""What guests ask DHCP for. The rules of an earlier version let them ask for each other."""

_DNS = "dhcp-option=option:dns-server,"


def configuration(uplink: Uplink) -> str:
    """Return the DHCP server's configuration: it answers only VMs with a reservation."""
    gateway = IPv4Interface(uplink.ip)
    lines = [
        f"interface={uplink.interface}",
        f"dhcp-range={gateway.network.network_address},static,{gateway.netmask},12h",
        f"dhcp-option=option:router,{gateway.ip}",
        _DNS + ",".join(uplink.dns) if uplink.dns else "",
        f"dhcp-hostsdir={paths.RESERVATIONS}",
        f"dhcp-leasefile={paths.UPLINK}/leases",
    ]
    return dhcp.configuration(paths.UPLINK, [line for line in lines if line])


def _obstacle(uplink: Uplink, fact: UplinkFact) -> ForeignObject | None:
    if fact.port is not None and fact.port.tags.get(TAG) != uplink.address:
        return refuse(uplink, f"the port {uplink.interface} of {fact.port.bridge}", fact.port.tags.get(TAG, ""))
    if fact.port is None and fact.link is not None:
        return refuse(uplink, f"the interface {uplink.interface}", "")
    if fact.owner not in {"", uplink.address}:
        return refuse(uplink, f"the gateway in {paths.UPLINK}", fact.owner)
    return None


def _connected(uplink: Uplink, fact: UplinkFact) -> bool:
    found = (fact.port.tag, fact.port.mode) if fact.port else None
    return found == (uplink.vlan, "access") and fact.link is not None and fact.link.mac == uplink.mac


def _placed(uplink: Uplink, fact: UplinkFact) -> bool:
    link = fact.link
    if link is None or not link.up or link.addresses != (uplink.ip,):
        return False
    ours = fact.owner == uplink.address and fact.used == uplink.uplink
    return ours and fact.rules and fact.policy == _policy(uplink) and fact.forwards and fact.uplink_forwards


def _connection(uplink: Uplink, *, create: bool) -> list[tuple[str, ...]]:
    name = uplink.interface
    ids = switch.external_ids(tags(uplink))
    settings = [
        ("set", "Port", name, f"tag={uplink.vlan}", "vlan_mode=access", *ids),
        ("set", "Interface", name, "type=internal", f'mac="{uplink.mac}"'),
    ]
    if not create:
        return settings
    return [("add-port", uplink.bridge, name), *settings]


def survey(target: SurveyTarget, results: Sequence[Result]) -> Iterator[Found]:
    """Find the gateway by its owner file, and its port by the tag."""
    ports = switch.parse_ports(target.host, results[1])
    named = [(*file.lines, file.mark) for file in parse_files(target.host, results[0])]
    named += [(port.tags.get(TAG, ""), port.name, "", port.uuid) for port in ports.values()]
    seen: set[tuple[str, Address]] = set()
    for owner, interface, used, mark in named:
        where = tagged(Uplink, owner)
        if where is None or (interface, where) in seen:
            continue
        seen.add((interface, where))
        port = ports.get(interface)
        uplink = Uplink(
            address=where,
            slice=None,
            host=target.host,
            bridge=port.bridge if port else target.bridge,
            interface=interface,
            vlan=VlanId(port.tag or 0) if port else VlanId(0),
            ip="",
            mac="",
            uplink=used,
            dns=(),
        )
        yield Found(uplink, mark)


SURVEY: Survey[Uplink] = Survey(
    (list_files(paths.UPLINK, 1, "owner"), switch.probe_ports(())), survey, lambda uplink: uplink.interface
)
DRIVER = Driver(Uplink, probe, parse, ensure, remove, observed, SURVEY)
