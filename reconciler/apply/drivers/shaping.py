"""Limits what goes to a guest, by a token bucket filter (tc-tbf(8)) on its TAP.

When Open vSwitch starts, it removes filters from its ports, but not from one that refers to an entry of the table QoS
with the type `linux-noop`. All limited ports of a host share one entry, which stays. A filter of ours has our handle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.apply.drivers import switch
from reconciler.apply.transport import output
from reconciler.apply.transport.command import Command, Result, script
from reconciler.errors import HostError
from reconciler.spec.models.names import BitRate

_HANDLE = "7263:"
_LEAST_BURST = 2**15  # bytes; more than the largest packet that a link can have

# The entries of the table QoS that are ours, then each filter as a line of JSON.
PROBE = """
ovs-vsctl --timeout=10 --bare --columns=_uuid find QoS external_ids:reconciler=shaping
{ tc -j qdisc show 2> /dev/null || :; } | sed 's/},{/},\\n{/g' | { grep '"tbf"' || :; }
"""

SHAPE = """
tap=$1 rate=$2 burst=$3
ours=$(ovs-vsctl --timeout=10 --bare --columns=_uuid find QoS external_ids:reconciler=shaping)
if [ -n "$ours" ]; then
    ovs-vsctl --timeout=10 set Port "$tap" "qos=${ours%%[!0-9a-f-]*}"
else
    ovs-vsctl --timeout=10 --id=@ours create QoS type=linux-noop external_ids:reconciler=shaping \\
        -- set Port "$tap" qos=@ours > /dev/null
fi
tc qdisc replace dev "$tap" root handle 7263: tbf rate "${rate}bit" burst "$burst" latency 100ms
"""

UNSHAPE = """
if tc qdisc show dev "$1" root | grep -q '^qdisc tbf 7263: '; then tc qdisc delete dev "$1" root; fi
"""


@dataclass(frozen=True, slots=True)
class Shaping:
    """How many bits pass the filter of each TAP in a second, and the entries of the switch that make it keep them."""

    rates: Mapping[str, BitRate]
    entries: frozenset[str]


def probe() -> Command:
    """Return the command that reads the filters of a host."""
    return script(PROBE)


def parse(host: str, result: Result) -> Shaping:
    """Return the filters that are ours; raises HostError if the output cannot be parsed."""
    lines = [line for line in output.text(host, result).split("\n") if line]
    try:
        filters = [json.loads(line.strip("[],")) for line in lines if line.startswith(("[", "{"))]
        rates = {str(one["dev"]): BitRate(8 * int(one["options"]["rate"])) for one in filters if _is_ours(one)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(host, f"tc printed something unexpected: {error}") from error
    return Shaping(rates, frozenset(line for line in lines if not line.startswith(("[", "{"))))


def _is_ours(found: Mapping[str, object]) -> bool:
    return (found["kind"], found["handle"], found.get("root")) == ("tbf", _HANDLE, True)


def shape(tap: str, rate: BitRate) -> Command:
    """Return the command that limits what goes to a guest. Its TAP must be a port of the switch."""
    return script(SHAPE, tap, str(rate), str(max(rate // 8 // 50, _LEAST_BURST)))


def unshape(tap: str) -> Command:
    """Return the command that removes the limit of a TAP."""
    return script(UNSHAPE, tap)


def release(tap: str) -> Command:
    """Return the command by which the switch manages the queues of a port again."""
    return switch.transact(("clear", "Port", tap, "qos"))
