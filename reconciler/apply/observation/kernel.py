"""Reads how the hosts' kernels would handle packets: interfaces, routes and rules of each network namespace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from reconciler.apply.transport import output
from reconciler.apply.transport.command import script
from reconciler.apply.transport.connection import Connector
from reconciler.apply.transport.query import query
from reconciler.spec.models.names import HostName

# Runs inside a namespace and prints four lines: all nftables rules as JSON, ours or not; links, IPv4 addresses, routes
# and policy rules, one JSON document after the other; whether IPv6 is forwarded; for each interface, whether it
# forwards packets that arrive there, and whether IPv6 is off. The JSON is written without newlines.
LOOK: Final = """
one_line() { set -f; set -- $1; set +f; printf '%s\\n' "$*"; }
rules=
if command -v nft > /dev/null; then rules=$(nft -j list ruleset); fi
network=$(printf '%s\\n' 'link show' 'address show' 'route show table all' 'rule show' | ip -4 -j -d -batch -)
one_line "$rules"
one_line "$network"
v6=0 settings=
if [ -e /proc/sys/net/ipv6/conf/all/forwarding ]; then read -r v6 < /proc/sys/net/ipv6/conf/all/forwarding || :; fi
for path in /proc/sys/net/ipv4/conf/*; do
    name=${path##*/} forwards=0 without=1 v6path=/proc/sys/net/ipv6/conf/${path##*/}
    read -r forwards < "$path/forwarding" || :
    if [ -e "$v6path" ]; then read -r without < "$v6path/disable_ipv6" || :; fi
    settings="$settings $name $forwards $without"
done
printf '%s\\n' "$v6" "${settings# }"
"""

# Five lines for each named namespace, and for the host's own, whose name is empty. A name without a namespace (not an
# nsfs file) has four empty lines. If another one cannot be entered, the script fails, because its rules are unknown.
# nsenter changes only the network namespace: /proc/sys/net shows that of the reading process.
READ: Final = """
look=$1
nsenter --version > /dev/null
printf '\\n'
sh -ceu "$look"
for path in /run/netns/*; do
    [ -e "$path" ] || continue
    printf '%s\\n' "${path##*/}"
    if [ "$(stat -f -c %t -- "$path")" != 6e736673 ]; then printf '\\n\\n\\n\\n'; continue; fi
    nsenter --net="$path" sh -ceu "$look"
done
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """One network namespace as it was read; the host's own has an empty name.

    `rules` is the output of `nft -j list ruleset`, empty if there is no nft. `network` is four JSON documents of ip(8):
    links, IPv4 addresses, routes and policy rules. `forwards_ipv6` and `settings` are sysctls; the latter have for each
    interface whether it forwards IPv4, and whether IPv6 is off.
    """

    namespace: str
    rules: str
    network: str
    forwards_ipv6: bool
    settings: Mapping[str, tuple[bool, bool]]


async def read_kernels(connector: Connector, hosts: Iterable[HostName]) -> Mapping[HostName, tuple[Reading, ...]]:
    """Return each host's network namespaces; raises HostError if a host cannot be read."""
    results = await query(connector, {host: script(READ, LOOK) for host in hosts})
    return {
        host: tuple(_reading(host, row) for row in output.rows(host, result, width=5) if row[2])
        for host, result in results.items()
    }


def _reading(host: HostName, row: tuple[str, ...]) -> Reading:
    namespace, rules, network, forwards_ipv6, settings = row
    fields = settings.split(" ")
    output.expect(host, len(fields) % 3 == 0, "the probe of its settings")
    triples = zip(fields[::3], fields[1::3], fields[2::3], strict=True)
    by_name = {name: (forwards != "0", without != "0") for name, forwards, without in triples}
    return Reading(namespace, rules, network, forwards_ipv6 != "0", by_name)
