"""Reads ports, mirrors and foreign flows of switches, and traces where frames would go, on all hosts at once.

All batches are read-only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from reconciler.apply.drivers import switch
from reconciler.apply.drivers.switch import SwitchMirror, SwitchPort
from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Result, script
from reconciler.apply.transport.connection import Connector
from reconciler.apply.transport.query import query
from reconciler.apply.transport.shell import random_nonce
from reconciler.spec.models.names import HostName

# Sends all questions to the switch's control socket in one process: JSON-RPC 1.0 as in ovs-appctl(8) and RFC 7047, 4.
# Each request waits for the reply to the one before, so that the two sides never wait for each other.
ASK: Final = """
import codecs, json, os, socket, sys

def main(bridge, mark):
    folder = os.environ.get("OVS_RUNDIR", "/run/openvswitch")
    with open(folder + "/ovs-vswitchd.pid") as file:
        pid = int(file.read())
    switch = socket.socket(socket.AF_UNIX)
    switch.settimeout(10)
    switch.connect(f"{folder}/ovs-vswitchd.{pid}.ctl")
    pending, utf8, json_text, traces = "", codecs.getincrementaldecoder("utf-8")(), json.JSONDecoder(), []
    for number, flow in enumerate(sys.stdin.read().splitlines()):
        question = {"id": number, "method": "ofproto/trace", "params": ["--names", bridge, flow]}
        switch.sendall(json.dumps(question).encode())
        while True:
            try:
                reply, end = json_text.raw_decode(pending)
                break
            except ValueError:
                piece = switch.recv(1 << 16)
                if not piece or len(pending) > 1 << 20:
                    raise ValueError("its reply has no end")
                pending = (pending + utf8.decode(piece)).lstrip()
        pending = pending[end:].lstrip()
        if reply["id"] != number:
            raise ValueError("its reply is to another request")
        if reply["error"] is not None:
            raise ValueError(reply["error"])
        traces += [reply["result"].rstrip("\\n"), mark]
    print(*traces, sep="\\n")

try:
    main(*sys.argv[1:])
except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    sys.exit(f"the switch cannot be queried: {error}")
"""

# Prints the traces one after the other, each followed by a line with the nonce, which nothing on the host can predict.
# A failure ends the script with the switch's message. Without -generate, tracing has no side effects (ovs-vswitchd(8)).
# Debian's openvswitch-switch depends on python3; without it, each question needs a process.
TRACE: Final = """
bridge=$1 mark=$2 ask=$3
if command -v python3 > /dev/null; then exec python3 -I -S -c "$ask" "$bridge" "$mark"; fi
while IFS= read -r flow; do
    ovs-appctl -T 10 ofproto/trace --names "$bridge" "$flow" < /dev/null
    printf '%s\\n' "$mark"
done
"""


# Runs the command that reads mirrors; its output is followed by the first 50 flows of the bridge that are not ours, if
# the bridge is there. `ovs-ofctl` can select flows by a cookie, but not all others.
READ_BRIDGE: Final = """
bridge=$1 ours=$2
shift 2
"$@"
[ -S "${OVS_RUNDIR:-/run/openvswitch}/$bridge.mgmt" ] || exit 0
flows=$(ovs-ofctl --timeout=10 --names --no-stats dump-flows "$bridge")
printf '%s\\n' "$flows" | grep actions= | grep -Ev -m 50 "$ours" || :
"""


@dataclass(frozen=True, slots=True)
class BridgeReading:
    """What a host's switches do beside what their ports say: all mirrors, and the bridge's flows that are not ours.

    A flow is one line of `ovs-ofctl dump-flows`; there are at most 50.
    """

    mirrors: tuple[SwitchMirror, ...]
    foreign_flows: tuple[str, ...]


async def read_ports(connector: Connector, hosts: Iterable[HostName]) -> Mapping[HostName, tuple[SwitchPort, ...]]:
    """Return all ports of each host's switches, ours or not; raises HostError if a host cannot be read."""
    commands = {host: switch.probe_ports(()) for host in hosts}
    results = await query(connector, commands)
    return {host: tuple(switch.parse_ports(host, result).values()) for host, result in results.items()}


async def read_bridges(
    connector: Connector, bridge: str, hosts: Iterable[HostName]
) -> Mapping[HostName, BridgeReading]:
    """Return each host's mirrors, and its bridge's flows that are not ours; raises HostError if it cannot be read."""
    command = script(READ_BRIDGE, bridge, switch.OUR_COOKIES, *switch.probe_mirrors().argv)
    results = await query(connector, dict.fromkeys(hosts, command))
    return {host: _bridge(host, result) for host, result in results.items()}


def _bridge(host: HostName, result: Result) -> BridgeReading:
    lines = output.text(host, result).splitlines(keepends=True)
    flows = [line for line in lines if line.startswith(" ")]
    tables = "".join(line for line in lines if line not in flows)
    mirrors = switch.parse_mirrors(host, replace(result, output=tables))
    return BridgeReading(tuple(mirrors), tuple(line.strip() for line in flows))


async def trace(
    connector: Connector, bridge: str, flows: Mapping[HostName, Sequence[str]]
) -> Mapping[HostName, tuple[str, ...]]:
    """Return each host's traces of these flows, in their order; raises HostError if a host does not answer.

    A flow is written as in ovs-fields(7); its trace is the output of `ofproto/trace`.
    """
    mark = f"{random_nonce()} end of a trace"
    commands = {host: _tracing(bridge, mark, wanted) for host, wanted in flows.items() if wanted}
    results = await query(connector, commands)
    return {host: _traces(host, len(flows[host]), mark, result) for host, result in results.items()}


def _tracing(bridge: str, mark: str, flows: Iterable[str]) -> Command:
    """Return the command that traces flows. They are sent on standard input because arguments have a length limit."""
    return replace(script(TRACE, bridge, mark, ASK), stdin="".join(f"{flow}\n" for flow in flows))


def _traces(host: HostName, count: int, mark: str, result: Result) -> tuple[str, ...]:
    found = output.text(host, result).split(f"{mark}\n")
    output.expect(host, len(found) == count + 1 and not found[-1], "ofproto/trace")
    return tuple(found[:-1])
