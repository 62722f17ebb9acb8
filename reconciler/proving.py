"""Has the hosts' switches and routers asked, and what they say judged; asking is apply's part, judging verify's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler import workflow
from reconciler.errors import HostError
from reconciler.plan.resources import Resource, Router, Segment, Uplink
from reconciler.spec.cluster import Bridge
from reconciler.spec.names import HostName, SliceKey
from reconciler.state.store import StateReader

if TYPE_CHECKING:
    from reconciler.apply.connection import Connector
    from reconciler.apply.drivers.switch import SwitchPort
    from reconciler.verify.frames import Exit, Probe
    from reconciler.verify.live import LivePort, Switch
    from reconciler.verify.proof import Proof, Violation


async def verify(
    inputs: workflow.Inputs, reader: StateReader, connector: Connector, scope: Collection[SliceKey] | None = None
) -> Proof:
    """Prove that the switches carry exactly the declared graph, of some slices or of all; reads only.

    Three batches for each host: its ports, where frames go that its ports send, and where those go that arrive there
    by the trunk; and one for the routers. Raises HostError where a host cannot be read: what is not seen is not proved.
    """
    from reconciler.apply.trace import read_ports  # noqa: PLC0415 - planning needs no hosts
    from reconciler.verify.declared import declare  # noqa: PLC0415
    from reconciler.verify.live import local_probes, onward_probes  # noqa: PLC0415
    from reconciler.verify.proof import concerning, prove  # noqa: PLC0415

    declared = declare(workflow.recorded_resources(reader))
    cluster = inputs.cluster.cluster
    read = await read_ports(connector, {HostName(host.name) for host in cluster.hosts()})
    switches = {host: _switch(host, cluster.bridge, ports) for host, ports in read.items()}
    local = await _follow(connector, cluster.bridge.name, local_probes(declared, switches))
    onward = await _follow(connector, cluster.bridge.name, onward_probes(local, switches))
    proof = prove(declared, switches, {**local, **onward})
    routers = await _unsound_routers(workflow.recorded_resources(reader, scope), connector)
    proof = replace(proof, violations=(*proof.violations, *routers))
    return proof if scope is None else concerning(proof, declared, scope)


async def _unsound_routers(resources: Iterable[Resource], connector: Connector) -> list[Violation]:
    """Return what is amiss with the rules between segments and towards the uplink, which no switch knows of."""
    from reconciler.apply.drift import DriftKind  # noqa: PLC0415 - planning needs no drivers
    from reconciler.verify.proof import unsound  # noqa: PLC0415

    found = await workflow.compare([one for one in resources if isinstance(one, Router | Segment | Uplink)], connector)
    for item in found:
        if item.kind is DriftKind.UNREACHABLE:
            raise HostError(item.host, f"{item.address} cannot be read: {item.words}")
    return [unsound(item.address, item.host, [each.name for each in item.attributes]) for item in found]


def _switch(host: HostName, bridge: Bridge, ports: Iterable[SwitchPort]) -> Switch:
    from reconciler.verify.live import Switch  # noqa: PLC0415 - planning needs no switches

    found = {port.name: _live_port(host, port) for port in ports if port.bridge == bridge.name and port.ofport >= 0}
    trunk = found.pop(bridge.trunk, None)
    found.pop(bridge.name, None)
    return Switch(bridge.name, trunk, tuple(found[name] for name in sorted(found)))


def _live_port(host: HostName, port: SwitchPort) -> LivePort:
    from reconciler.apply.drivers.ownership import TAG  # noqa: PLC0415 - planning needs no switches
    from reconciler.verify.live import LivePort  # noqa: PLC0415

    return LivePort(host, port.name, port.ofport, port.tag, port.trunks, port.tags.get(TAG, ""))


async def _follow(connector: Connector, bridge: str, probes: Sequence[Probe]) -> dict[Probe, tuple[Exit, ...]]:
    """Ask each switch about its frames; raises HostError where one would do what cannot be followed."""
    from reconciler.apply.trace import trace  # noqa: PLC0415 - planning needs no hosts
    from reconciler.verify.frames import read_exits  # noqa: PLC0415

    by_host: dict[HostName, list[Probe]] = {}
    for probe in probes:
        by_host.setdefault(probe.host, []).append(probe)
    traces = await trace(connector, bridge, {host: [one.flow for one in asked] for host, asked in by_host.items()})
    found = {}
    for host, asked in by_host.items():
        for probe, answer in zip(asked, traces[host], strict=True):
            try:
                found[probe] = read_exits(answer, probe.frame.vlan)
            except ValueError as error:
                raise HostError(host, f"a frame at {probe.port} cannot be followed: {error}") from error
    return found
