"""Starts, stops and configures dnsmasq: one process for each router, one for the internet VLAN.

dnsmasq reads its configuration only when it starts, so every change ends with a restart. That takes about 20 ms, and
clients keep their addresses because each is reserved. dnsmasq serves only DHCP; DNS is off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from reconciler.apply.transport.command import Command, script

# Whether process $1 is the dnsmasq of directory $2. The shell drops the NULs between the arguments as it reads them.
RUNS = """
runs() {
    line=
    [ -e "/proc/$1/cmdline" ] || return 1
    { IFS= read -r line || :; } 2> /dev/null < "/proc/$1/cmdline" || :
    case $line in *"--conf-file=$2/dnsmasq.conf"*) return 0 ;; esac
    return 1
}
"""

# Sets pid to the running dnsmasq of directory $1, or to nothing. If its pidfile was deleted by hand, it is searched
# for. grep reads the pattern from a pipe, so that it does not find itself.
FIND = (
    RUNS
    + """
find_server() {
    pid=
    if [ -e "$1/dnsmasq.pid" ]; then
        read -r pid < "$1/dnsmasq.pid" || :
    else
        for file in $(printf '%s\\n' "--conf-file=$1/dnsmasq.conf" | grep -lszFx -f - /proc/[0-9]*/cmdline); do
            pid=${file#/proc/} pid=${pid%/cmdline}
        done
    fi
    case $pid in *[!0-9]*) pid= ;; esac
    if [ -n "$pid" ] && ! runs "$pid" "$1"; then pid=; fi
}
"""
)

STOP_SERVER = (
    FIND
    + """
stop_server() {
    find_server "$1"
    [ -n "$pid" ] || return 0
    kill -TERM "$pid" 2> /dev/null || :
    tries=0
    while runs "$pid" "$1"; do
        tries=$((tries + 1))
        if [ "$tries" -eq 250 ]; then kill -KILL "$pid" 2> /dev/null || :; fi
        if [ "$tries" -gt 500 ]; then echo "the DHCP server $pid does not end" >&2; return 1; fi
        sleep 0.02
    done
}
"""
)

# In directory $1; in the network namespace $2, or in the host's own if that is empty.
START_SERVER = (
    STOP_SERVER
    + """
start_server() {
    if [ -n "$2" ]; then
        ip netns exec "$2" dnsmasq --conf-file="$1/dnsmasq.conf"
    else
        dnsmasq --conf-file="$1/dnsmasq.conf"
    fi
}
"""
)

# A router's server runs while there is a segment to serve.
RESTART = (
    START_SERVER
    + """
stop_server "$1"
for part in "$1"/conf.d/*.conf; do
    if [ -e "$part" ]; then start_server "$1" "$2"; fi
    break
done
"""
)

WRITE_AND_RESTART = 'umask 022\nprintf \'%s\' "$4" > "$3"\n' + RESTART
DELETE_AND_RESTART = 'rm -f -- "$3"\n' + RESTART


_MAC: Final = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}")

_KEYWORDS: Final = {"ignore": "Ignore", "infinite": "Infinite"}
_NAMES: Final = {written: name for name, written in _KEYWORDS.items()}


def write_hostname(name: str) -> str:
    """Write a host name for `dhcp-host`, where two words mean something else, but only in lower case.

    Host names are the same in upper and lower case (RFC 4343).
    """
    return _KEYWORDS.get(name, name)


def read_hostname(written: str) -> str:
    """Read back what `write_hostname` wrote."""
    return _NAMES.get(written, written)


CLIENT: Final = "ether saddr . @th,288,48"
"""What nftables compares of a request: the sender's address, and the client that the request is for (RFC 2131, chaddr).

Port security lets a guest send from its own address only, but dnsmasq believes the request: without this, a guest could
decline the address of another one, which is then not given out for ten minutes.
"""


def client(mac: str) -> str:
    """Return the element of a set of clients for a NIC; raises ValueError if it is no MAC."""
    if not _MAC.fullmatch(mac):
        raise ValueError(f"{mac!r} is not a MAC")
    return f"{mac} . 0x{mac.replace(':', '')}"


def read_clients(elements: Iterable[Any]) -> Iterator[tuple[str, ...]]:
    """Yield what the elements of a set of clients name: the interface, if they have one, and the MAC of a NIC.

    `elements` are those of `nft -j list set`. Elements that are for another client than their sender are left out.
    """
    for one in elements:
        match one:
            case {"concat": [*interface, str(sender), chaddr]} if int(sender.replace(":", ""), 16) == chaddr:
                yield (*interface, sender)


def configuration(directory: str, lines: Iterable[str]) -> str:
    """Return a dnsmasq.conf (dnsmasq(8)) with the lines that all our servers share, and `lines`."""
    common = [
        "port=0",
        "bind-dynamic",
        "except-interface=lo",
        "no-hosts",
        "no-resolv",
        "no-ping",
        "dhcp-authoritative",
        "dhcp-ignore-clid",  # guests choose their client identifiers: one could take the address of another by its own
        f"pid-file={directory}/dnsmasq.pid",
    ]
    return "\n".join([*common, *lines, ""])


def restart(directory: str, namespace: str) -> Command:
    """Return the command that makes a router's server match its directory."""
    return script(RESTART, directory, namespace)


def write(directory: str, namespace: str, path: str, content: str) -> Command:
    """Return the command that writes a part of a router's configuration and restarts the server."""
    return script(WRITE_AND_RESTART, directory, namespace, path, content)


def delete(directory: str, namespace: str, path: str) -> Command:
    """Return the command that deletes a part of a router's configuration; without any, the server stops."""
    return script(DELETE_AND_RESTART, directory, namespace, path)
