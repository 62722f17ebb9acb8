"""Creates the network namespace of each slice, which forwards only between the slice's own gateways.

An nftables set lists the interfaces that are gateways, another one the NICs that DHCP is for. Segments add themselves
and their NICs; the rules never change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.apply.drivers import dhcp, paths
from reconciler.apply.drivers.driver import Driver, Found, Survey, SurveyTarget
from reconciler.apply.drivers.ownership import list_files, owns, parse_files, refuse, slice_of, stop_at, tagged
from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Operation, Result, script
from reconciler.errors import ForeignObject
from reconciler.plan.resources import ROOT, Router
from reconciler.plan.resources.router import AS_WRITTEN
from reconciler.spec.models.names import Address

# Runs inside the namespace: prints whether it forwards, and the rules as nft lists them. A shell reads byte by byte,
# and reading a sysctl ends after the first byte, which is enough for a digit.
LIST = """
read -r forward < /proc/sys/net/ipv4/ip_forward || :
echo "ip_forward $forward"
exec nft --stateless --terse list table inet reconciler
"""

# Runs inside the namespace. Loading the rules again does not change the sets.
LOAD = f"""
directory=$1 list=$2
ip link set dev lo up
for setting in all default; do
    if [ -e "/proc/sys/net/ipv6/conf/$setting/disable_ipv6" ]; then
        echo 1 > "/proc/sys/net/ipv6/conf/$setting/disable_ipv6"
    fi
done
nft -f - << 'END'
add table inet reconciler
add set inet reconciler gateways {{ type ifname; }}
add set inet reconciler clients {{ typeof iifname . {dhcp.CLIENT}; }}
add chain inet reconciler forward {{ type filter hook forward priority filter; policy drop; }}
add chain inet reconciler input {{ type filter hook input priority filter; policy drop; }}
flush chain inet reconciler forward
flush chain inet reconciler input
add rule inet reconciler forward iifname @gateways oifname @gateways accept
add rule inet reconciler input iifname "lo" accept
add rule inet reconciler input meta l4proto icmp accept
add rule inet reconciler input udp dport 67 iifname . {dhcp.CLIENT} @clients accept
END
echo 1 > /proc/sys/net/ipv4/ip_forward
sh -ceu "$list" > "$directory/ruleset"
"""

# Six lines for each namespace: usable, broken or nothing; owner; whether the rules are as loaded; whether they let a
# guest ask DHCP for itself only; whether it has segments to serve DHCP to; whether the DHCP server runs.
PROBE = (
    dhcp.FIND
    + """
root=$1 list=$2
shift 2
for namespace do
    directory=$root/$namespace
    present= owner= rules= clients= parts= server=
    if [ -e "$directory/owner" ]; then IFS= read -r owner < "$directory/owner" || :; fi
    if [ -e "/run/netns/$namespace" ]; then
        present=usable
        live=$(ip netns exec "$namespace" sh -ceu "$list" 2> /dev/null) || :
        if [ -z "$live" ]; then present=broken; fi
        if [ -e "$directory/ruleset" ] && [ "$live" = "$(cat "$directory/ruleset")" ]; then rules=yes; fi
        case $live in *@clients*) clients=yes ;; esac
    fi
    for part in "$directory"/conf.d/*.conf; do
        if [ -e "$part" ]; then parts=yes; fi
    done
    find_server "$directory"
    if [ -n "$pid" ]; then server=yes; fi
    printf '%s\\n' "$present" "$owner" "$rules" "$clients" "$parts" "$server"
done
"""
)

# A line for each configuration of a DHCP server that is there: its digest and its path.
DIGESTS = 'sha256sum -- "$@" 2> /dev/null || :'

CREATE = """
namespace=$1 directory=$2 address=$3 configuration=$4 load=$5 list=$6 broken=$7
umask 022
mkdir -p -- "$directory/conf.d"
printf '%s\\n' "$address" > "$directory/owner"
printf '%s' "$configuration" > "$directory/dnsmasq.conf"
if [ -n "$broken" ]; then ip netns delete "$namespace"; fi
[ -e "/run/netns/$namespace" ] || ip netns add "$namespace"
ip netns exec "$namespace" sh -ceu "$load" reconciler "$directory" "$list"
"""

CONFIGURE = """
umask 022
printf '%s' "$2" > "$1/dnsmasq.conf"
"""

REMOVE = (
    dhcp.STOP_SERVER
    + """
stop_server "$2"
if [ -e "/run/netns/$1" ]; then ip netns delete "$1"; fi
rm -rf -- "$2"
"""
)


@dataclass(frozen=True, slots=True)
class RouterFact:
    """A namespace: `present` is `usable`, `broken` (a name without a namespace) or empty.

    `rules` is whether it filters and forwards as when it was created, `clients` whether its rules let each guest ask
    DHCP for itself only, `served` whether segments need DHCP there, and `server` whether a DHCP server runs. `digest`
    is that of the DHCP server's configuration, empty without one.
    """

    present: str
    owner: str
    rules: bool
    clients: bool
    served: bool
    server: bool
    digest: str


def probe(routers: Sequence[Router]) -> tuple[Command, ...]:
    """Return the commands that read the namespaces, their rules and their DHCP servers."""
    root = paths.parent(paths.router(routers[0].namespace))
    return (
        script(PROBE, root, LIST, *(router.namespace for router in routers)),
        script(DIGESTS, *(_configuration_file(router) for router in routers)),
    )


def parse(routers: Sequence[Router], results: Sequence[Result]) -> Mapping[Address, RouterFact]:
    """Read one fact for each router."""
    host = routers[0].host
    found = output.records(host, results[0], count=len(routers), width=6)
    lines = (line.partition("  ") for line in output.text(host, results[1]).splitlines())
    digests = {path: digest for digest, _, path in lines}
    return {
        router.address: RouterFact(
            present,
            owner,
            rules == "yes",
            clients == "yes",
            served == "yes",
            server == "yes",
            digests.get(_configuration_file(router), ""),
        )
        for router, (present, owner, rules, clients, served, server) in zip(routers, found, strict=True)
    }


def ensure(router: Router, fact: RouterFact, _before: Router | None) -> tuple[Operation, ...]:
    """Create the namespace, its rules and the DHCP server's configuration; start a DHCP server that should run."""
    stop_at(_obstacle(router, fact))
    directory = paths.router(router.namespace)
    operations: list[Operation] = []
    if not (_sound(router, fact) and fact.clients) or fact.owner != router.address:
        texts = (configuration(router), LOAD, LIST, "broken" if fact.present == "broken" else "")
        operations.append(script(CREATE, router.namespace, directory, router.address, *texts))
    elif not _configured(router, fact):
        operations.append(script(CONFIGURE, directory, configuration(router)))
    if fact.served and not (fact.server and fact.present == "usable" and _configured(router, fact)):
        operations.append(dhcp.restart(directory, router.namespace))
    return tuple(operations)


def remove(router: Router, fact: RouterFact) -> tuple[Operation, ...]:
    """Stop the DHCP server and delete the namespace with everything in it."""
    stop_at(_obstacle(router, fact))
    if not (fact.present or fact.owner or fact.server):
        return ()
    return (script(REMOVE, router.namespace, paths.router(router.namespace)),)


def observed(router: Router, fact: RouterFact) -> Mapping[str, Any] | None:
    """Return the namespace's name, or None if it does not filter, forward and serve as it should."""
    if not _sound(router, fact) or (fact.served and not fact.server):
        return None
    return {"namespace": router.namespace, "dhcp_options": AS_WRITTEN if _serves_as_written(router, fact) else "others"}


def configuration(router: Router) -> str:
    """Return the part of the DHCP server's configuration that segments do not change."""
    directory = paths.router(router.namespace)
    return dhcp.configuration(directory, ["leasefile-ro", f"conf-dir={directory}/conf.d,*.conf"])


def _configuration_file(router: Router) -> str:
    return f"{paths.router(router.namespace)}/dnsmasq.conf"


def _configured(router: Router, fact: RouterFact) -> bool:
    return fact.digest == hashlib.sha256(configuration(router).encode()).hexdigest()


def _serves_as_written(router: Router, fact: RouterFact) -> bool:
    return fact.clients and _configured(router, fact)


def _sound(router: Router, fact: RouterFact) -> bool:
    return fact.present == "usable" and owns(router, fact.owner) and fact.rules


def _obstacle(router: Router, fact: RouterFact) -> ForeignObject | None:
    if not owns(router, fact.owner) and (fact.present or fact.owner):
        return refuse(router, f"the network namespace {router.namespace}", fact.owner)
    return None


def survey(target: SurveyTarget, results: Sequence[Result]) -> Iterator[Found]:
    """Find routers by the owners in their directories."""
    for file in parse_files(target.host, results[0]):
        if (where := tagged(Router, file.lines[0])) is not None:
            namespace = paths.parent(file.path).rpartition("/")[2]
            router = Router(address=where, slice=slice_of(Router, where), host=target.host, namespace=namespace)
            yield Found(router, file.mark)


SURVEY: Survey[Router] = Survey((list_files(f"{ROOT}/routers", 2, "owner"),), survey, lambda router: router.namespace)
DRIVER = Driver(Router, probe, parse, ensure, remove, observed, SURVEY)
