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

# Runs inside a namespace and prints five lines: all nftables rules as JSON, ours or not; its chains as text, if any is
# attached to a device, which the JSON of nft 1.0.6 does not name; links, IPv4 addresses, routes and policy rules, one
# JSON document after the other; whether IPv6 is forwarded; for each interface, whether it forwards packets that arrive
# there, and whether IPv6 is off. The JSON is written without newlines.
LOOK: Final = """
one_line() { set -f; set -- $1; set +f; printf '%s\\n' "$*"; }
rules= chains=
if command -v nft > /dev/null; then rules=$(nft -j list ruleset); fi
network=$(printf '%s\\n' 'link show' 'address show' 'route show table all' 'rule show' | ip -4 -j -d -batch -)
case $rules in *'"hook": "ingress"'* | *'"hook": "egress"'*) chains=$(nft list chains) ;; esac
one_line "$rules"
one_line "$chains"
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

# Six lines for each named namespace, and for the host's own, whose name is empty. A name without a namespace (not an
# nsfs file) has five empty lines. If another one cannot be entered, the script fails, because its rules are unknown.
# nsenter changes only the network namespace: /proc/sys/net shows that of the reading process.
#
# Then six lines for each namespace that has no name there and more interfaces than `lo`, with the path of a process or
# a mount that leads to it. Only its links are read, and the numbers that it has for other namespaces: a host may have
# hundreds of containers. One that is gone with its process is passed over.
READ: Final = """
look=$1
nsenter --version > /dev/null
printf '\\n'
sh -ceu "$look"
named=
for path in /run/netns/*; do
    [ -e "$path" ] || continue
    printf '%s\\n' "${path##*/}"
    if [ "$(stat -f -c %t -- "$path")" != 6e736673 ]; then printf '\\n\\n\\n\\n\\n'; continue; fi
    nsenter --net="$path" sh -ceu "$look"
    named="$named $path"
done
# shellcheck disable=SC2086  # names in /run/netns that nsenter has taken
known=" $(stat -L -c %i /proc/self/ns/net $named | tr '\\n' ' ')"
mounted='s/^[0-9]* [0-9]* [0-9:]* net:.\\([0-9]*\\). \\([^ ]*\\) .*/\\1 \\2/p'
{
    stat -L -c '%i %n' /proc/[0-9]*/ns/net 2> /dev/null || :
    sed -n "$mounted" /proc/self/mountinfo
} | sort -s -u -k 1,1 | while read -r inode path; do
    case $known in *" $inode "*) continue ;; esac
    process=${path%/ns/net}
    if [ "$process" != "$path" ] && ! grep -qsve '^ *lo:' -e '|' "$process/net/dev"; then continue; fi
    if network=$(printf '%s\\n' 'link show' 'netns list-id' | nsenter --net="$path" ip -j -d -batch - 2>&1); then
        set -f
        # shellcheck disable=SC2086
        set -- $network
        printf '%s\\n' "$path" '' '' "$*" 0 ''
    elif [ -e "$path" ]; then
        echo "the network namespace $path cannot be read: $network" >&2
        exit 1
    fi
done
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """One network namespace as it was read; the host's own has an empty name, one without a name the path to it.

    `rules` is the output of `nft -j list ruleset`, empty if there is no nft; `chains` that
    of `nft list chains` if chains are attached to devices. `network` is four JSON documents of ip(8):
    links, IPv4 addresses, routes and policy rules. `forwards_ipv6` and `settings` are sysctls; the latter have for each
    interface whether it forwards IPv4, and whether IPv6 is off.

    Of one without a name, `network` is two documents: links, and the names of other namespaces by the numbers that it
    has for them. All else is empty.
    """

    namespace: str
    rules: str
    chains: str
    network: str
    forwards_ipv6: bool
    settings: Mapping[str, tuple[bool, bool]]

    @property
    def unnamed(self) -> bool:
        """Whether it has no name in /run/netns, and is not the host's own."""
        return self.namespace.startswith("/")


async def read_kernels(connector: Connector, hosts: Iterable[HostName]) -> Mapping[HostName, tuple[Reading, ...]]:
    """Return each host's network namespaces; raises HostError if a host cannot be read."""
    results = await query(connector, {host: script(READ, LOOK) for host in hosts})
    return {
        host: tuple(_reading(host, row) for row in output.rows(host, result, width=6) if row[3])
        for host, result in results.items()
    }


def _reading(host: HostName, row: tuple[str, ...]) -> Reading:
    namespace, rules, chains, network, forwards_ipv6, settings = row
    fields = settings.split(" ") if settings else []
    output.expect(host, len(fields) % 3 == 0, "the probe of its settings")
    triples = zip(fields[::3], fields[1::3], fields[2::3], strict=True)
    by_name = {name: (forwards != "0", without != "0") for name, forwards, without in triples}
    return Reading(namespace, rules, chains, network, forwards_ipv6 != "0", by_name)
