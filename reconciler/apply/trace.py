"""Ask the switches: which ports they have, and where frames would go; each one read-only batch per host, all at once.

What is asked, and what the answers mean for the network, is verify's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from reconciler.apply.batch import CUT, Ended, Fate, Task, Transcript
from reconciler.apply.command import Command, Result, script
from reconciler.apply.connection import Connector
from reconciler.apply.doctor import NO_LOCK
from reconciler.apply.drivers import answers, switch
from reconciler.apply.drivers.switch import SwitchPort
from reconciler.apply.observe import PROBE_CAP, Nonce, converse, random_nonce
from reconciler.errors import HostError
from reconciler.spec.names import HostName

_END: Final = "end of a trace"

# The traces one after the other, a line after each; what fails ends it all, in the switch's own words. Tracing sends
# nothing and teaches the switch nothing: without -generate there are no side effects (ovs-vswitchd(8)).
TRACE: Final = f"""
bridge=$1
shift
for flow do
    ovs-appctl -T 10 ofproto/trace --names "$bridge" "$flow"
    echo '{_END}'
done
"""


async def read_ports(
    connector: Connector, hosts: Iterable[HostName], nonce: Nonce = random_nonce
) -> Mapping[HostName, tuple[SwitchPort, ...]]:
    """Return all ports of each host's switches, whosever they are; raises HostError where a host cannot be read."""
    commands = {host: switch.probe_ports(()) for host in hosts}
    results = await _ask(connector, commands, nonce)
    return {host: tuple(switch.parse_ports(host, result).values()) for host, result in results.items()}


async def trace(
    connector: Connector, bridge: str, flows: Mapping[HostName, Sequence[str]], nonce: Nonce = random_nonce
) -> Mapping[HostName, tuple[str, ...]]:
    """Return what each host's switch says of these flows, in their order; raises HostError where one does not answer.

    A flow is written as in ovs-fields(7); its answer is what `ofproto/trace` prints.
    """
    commands = {host: script(TRACE, bridge, *asked) for host, asked in flows.items() if asked}
    results = await _ask(connector, commands, nonce)
    return {host: _traces(host, len(flows[host]), result) for host, result in results.items()}


def _traces(host: HostName, count: int, result: Result) -> tuple[str, ...]:
    found = answers.text(host, result).split(f"{_END}\n")
    answers.expect(host, len(found) == count + 1 and not found[-1], "ofproto/trace")
    return tuple(found[:-1])


async def _ask(connector: Connector, commands: Mapping[HostName, Command], nonce: Nonce) -> dict[HostName, Result]:
    hosts = sorted(commands)
    results = await asyncio.gather(*(_answer(connector, host, commands[host], nonce) for host in hosts))
    return dict(zip(hosts, results, strict=True))


async def _answer(connector: Connector, host: HostName, command: Command, nonce: Callable[[], str]) -> Result:
    transcript = Transcript([Task(0, (command,))], nonce(), PROBE_CAP)
    async with aclosing(converse(await connector.connect(host), transcript, NO_LOCK)) as events:
        (ended,) = [event async for event in events if isinstance(event, Ended)]
    if ended.fate is not Fate.DONE:
        raise HostError(host, ended.words)
    if ended.results[0].output.endswith(CUT):
        raise HostError(host, f"the switch's answer is longer than {PROBE_CAP} bytes")
    return ended.results[0]
