"""Sends ARP requests on links to find which MACs have an address; the only part of `verify` that sends frames.

A host sends all requests from one process, on the router's interfaces in their namespaces, and waits a short time for
answers. Nothing is configured, and the host's kernel learns no neighbour.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Result, script
from reconciler.apply.transport.connection import Connector
from reconciler.apply.transport.query import query
from reconciler.spec.models.names import HostName

_MAC: Final = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}")

# Reads a question from each line: a namespace or `.`, an interface, its address, and the address to ask for (RFC 826).
# Prints a JSON list for each: every MAC that answered, both the one in the answer and the one that sent the frame. A
# request is sent up to three times because frames may be lost, and answers are read for a short time after each.
ARP: Final = """
import ctypes, json, resource, select, socket, struct, sys, time

ETH_ARP, EVERY, TIMES = 0x0806, 0.4, 3

def enter(file):
    if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0x40000000):
        raise OSError(ctypes.get_errno(), file.name)

def listen(namespace, interface):
    with open("/proc/self/ns/net") as own:
        try:
            if namespace != ".":
                with open("/run/netns/" + namespace) as there:
                    enter(there)
            one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ETH_ARP))
            one.bind((interface, ETH_ARP))
            return one
        except OSError:
            return None
        finally:
            enter(own)

def question(mac, sender, target):
    head = b"\\xff" * 6 + mac + struct.pack("!HHHBBH", ETH_ARP, 1, 0x0800, 6, 4, 1)
    return head + mac + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target)

def hear(one, asked, found):
    while True:
        try:
            frame, origin = one.recvfrom(2048)
        except OSError:
            return
        if len(frame) >= 42 and origin[2] != socket.PACKET_OUTGOING and frame[20:22] == b"\\0\\2":
            for number in asked.get(frame[28:32], ()):
                found[number] |= {frame[6:12].hex(":"), frame[22:28].hex(":")}

def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    questions = [line.split() for line in sys.stdin.read().splitlines()]
    found, sockets, asked = [set() for _ in questions], {}, {}
    for number, (namespace, interface, _, target) in enumerate(questions):
        key = namespace, interface
        if key not in sockets:
            sockets[key] = listen(*key)
        asked.setdefault(key, {}).setdefault(socket.inet_aton(target), []).append(number)
    heard = {one.fileno(): (one, asked[key]) for key, one in sockets.items() if one is not None}
    poll = select.poll()
    for number in heard:
        poll.register(number, select.POLLIN)
    for turn in range(TIMES):
        for number, (namespace, interface, sender, target) in enumerate(questions):
            one = sockets[namespace, interface]
            if one is not None and not found[number]:
                try:
                    one.send(question(one.getsockname()[4], sender, target))
                except OSError:
                    pass
        until = time.monotonic() + EVERY
        while (left := until - time.monotonic()) > 0:
            for number, _ in poll.poll(left * 1000):
                hear(*heard[number], found)
        if all(found):
            break
    for macs in found:
        print(json.dumps(sorted(macs)))

main()
"""

_RUN: Final = """
if ! command -v python3 > /dev/null; then echo "install python3, which asks neighbours here" >&2; exit 1; fi
exec python3 -I -S -c "$1"
"""


@dataclass(frozen=True, slots=True)
class Question:
    """An ARP request for `target` on an interface with the address `sender`; the host's own namespace has no name."""

    namespace: str
    interface: str
    sender: str
    target: str


async def probe_neighbours(
    connector: Connector, questions: Mapping[HostName, Sequence[Question]]
) -> Mapping[HostName, tuple[frozenset[str], ...]]:
    """Return the MACs that answered each question; raises HostError as `ask` does."""
    commands = {host: _command(requests) for host, requests in questions.items() if requests}
    results = await query(connector, commands)
    return {host: _answers(host, len(questions[host]), result) for host, result in results.items()}


def _command(questions: Iterable[Question]) -> Command:
    lines = (f"{one.namespace or '.'} {one.interface} {one.sender} {one.target}\n" for one in questions)
    return replace(script(_RUN, ARP), stdin="".join(lines))


def _answers(host: HostName, count: int, result: Result) -> tuple[frozenset[str], ...]:
    lines = output.records(host, result, count=count, width=1)
    try:
        found = [json.loads(line) for (line,) in lines]
    except ValueError:
        found = [None]
    fine = all(
        isinstance(macs, list) and all(isinstance(mac, str) and _MAC.fullmatch(mac) for mac in macs) for macs in found
    )
    output.expect(host, fine, "the ARP probe")
    return tuple(frozenset(macs) for macs in found)
