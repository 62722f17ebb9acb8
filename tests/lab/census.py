"""Lists everything on the hosts of a lab, so that it can be compared with what was there before.

It leaves out what differs between runs without any meaning: process ids, MACs of the host's own interfaces, numbers of
switch ports, counters. It also leaves out what a host's first slice creates and that stays, such as folders, the base
flow of the bridge and the process that keeps its flows, and the tokens that hosts keep: they must outlive the slice, so
that a holder that lost its lock is always refused.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import Final

from reconciler import lab as labs

# Sections begin with a line `== NAME`. The processes come first: the glob is expanded before this script starts others.
# The elements of a set are put on one line; those that count connections come and go by themselves.
_SCRIPT: Final = r"""
exec 2>&1
plain() { perl -0pe 's/,\s*\n\s*/, /g; s/^\s*elements = .* ct count over .*\n//mg'; }
echo == processes
for process in /proc/[0-9]*; do
    [ "$process" = "/proc/$$" ] || { tr '\0' ' ' < "$process/cmdline"; } 2> /dev/null && echo
done
echo == interfaces
ip -o link | sed -E 's/^[0-9]+: ([^:@]+)[^<]*<([^>]*)>.*/\1 \2/'
ip -o -4 address | awk '{print $2, $4}'
echo == switch
ovs-vsctl --format=csv --no-headings --columns=name,tag,vlan_mode,trunks,protected,other_config,external_ids list port
ovs-vsctl --format=csv --no-headings --columns=name,type,error list interface
echo == flows
ovs-ofctl --names --no-stats dump-flows br-int | grep actions= | grep -v ' priority=0 actions=NORMAL'
echo == namespaces
ls /run/netns
for namespace in $(ls /run/netns); do
    ip -n "$namespace" -br address | sed "s/^/$namespace: /"
    ip netns exec "$namespace" nft -s list ruleset | plain | sed "s/^/$namespace: /"
done
echo == filters
nft -s list ruleset | plain
echo == kernel
grep . /proc/sys/net/ipv4/conf/*/forwarding
ip neighbour show nud permanent
cut -d ' ' -f 2,3 /proc/mounts | grep -v '^/run/netns tmpfs'
echo == files
find /var/lib/reconciler -maxdepth 1 -type f ! -name lock
find /var/lib/reconciler -mindepth 2 ! -path '/var/lib/reconciler/fence/*' ! -path '/var/lib/reconciler/state/*' \
    ! -path '/var/lib/reconciler/flows/*'
"""
_KEEPER: Final = ("sh /var/lib/reconciler/flows/keep", "ovs-ofctl", "timeout 0.1 cat", "cat", "sleep 0.05")
_PLUG: Final = ("plug /var/lib/reconciler/vms/",)  # takes links up again after six seconds, and ends
_NOISE: Final = ("sshd", "sh -euc", "ssh-", *_KEEPER, *_PLUG)
_ACCEPTOR: Final = re.compile(r"(/acceptor\.py) [0-9]+")
_ELEMENTS: Final = re.compile(r"elements = \{ (.*) \}")
_SETTLE_WITHIN: Final = 20.0  # seconds; a process takes links up again after six, and those told to end take some time


@dataclass(frozen=True)
class HostCensus:
    """What is on one host, each a sorted tuple of lines; `switch` has ports with VLANs, trunks and tags."""

    processes: tuple[str, ...]
    interfaces: tuple[str, ...]
    switch: tuple[str, ...]
    flows: tuple[str, ...]
    namespaces: tuple[str, ...]
    filters: tuple[str, ...]
    kernel: tuple[str, ...]
    files: tuple[str, ...]


Census = Mapping[str, HostCensus]
"""What is on each host of a lab, by its name."""


def census(lab: labs.LabInfo) -> Census:
    """List what is on every host of a lab."""
    hosts = [host.name for host in labs.status(lab.name).hosts]
    with ThreadPoolExecutor(len(hosts)) as pool:
        return dict(zip(hosts, pool.map(partial(_list, lab), hosts), strict=True))


def differences(expected: Census, found: Census) -> list[str]:
    """Return what is missing and what is extra, one line each."""
    lines = []
    for host, wanted in expected.items():
        for field in fields(HostCensus):
            before, after = list(getattr(wanted, field.name)), list(getattr(found[host], field.name))
            lines += [f"{host} {field.name}: lacks {line}" for line in _surplus(before, after)]
            lines += [f"{host} {field.name}: has {line}" for line in _surplus(after, before)]
    return lines


def settled(lab: labs.LabInfo, expected: Census, within: float = _SETTLE_WITHIN) -> list[str]:
    """Wait some seconds until a lab is as expected, and return the differences that remain."""
    deadline = time.monotonic() + within
    while (found := differences(expected, census(lab))) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _surplus(many: list[str], few: list[str]) -> list[str]:
    left = list(few)
    surplus = []
    for line in many:
        if line in left:
            left.remove(line)
        else:
            surplus.append(line)
    return surplus


def _list(lab: labs.LabInfo, host: str) -> HostCensus:
    printed = labs.run_in(lab.name, host, ["sh", "-c", _SCRIPT]).stdout
    sections: dict[str, list[str]] = {}
    for block in printed.split("== ")[1:]:
        name, _, lines = block.partition("\n")
        sections[name] = [_plain(line) for line in lines.splitlines() if line.strip()]
    sections["processes"] = [line for line in sections["processes"] if not line.startswith(_NOISE)]
    return HostCensus(**{name: tuple(sorted(lines)) for name, lines in sections.items()})


def _plain(line: str) -> str:
    """Write a line the same way each time: without process ids, and with the elements of a set in order."""
    line = _ACCEPTOR.sub(r"\1", line)
    return _ELEMENTS.sub(lambda match: "elements: " + " ".join(sorted(match[1].split(", "))), line).strip()
