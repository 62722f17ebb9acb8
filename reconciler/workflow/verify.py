"""Reads switches and routers of every host, and compares what they would carry with the declared links."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.apply.drivers.ownership import TAG
from reconciler.apply.drivers.switch import SwitchMirror, SwitchPort
from reconciler.apply.observation.arp import Question, probe_neighbours
from reconciler.apply.observation.drift import DriftKind
from reconciler.apply.observation.kernel import Reading, read_kernels
from reconciler.apply.observation.trace import BridgeReading, read_bridges, read_ports, trace
from reconciler.apply.transport.connection import Connector
from reconciler.errors import HostError, HostUnknown
from reconciler.plan.resources import Resource
from reconciler.spec.models.cluster import Bridge
from reconciler.spec.models.names import Address, HostName, SliceKey
from reconciler.state.store import StateReader
from reconciler.verify.closed import open_to_guests
from reconciler.verify.declared import Declared, declare
from reconciler.verify.eavesdropping import Mirror, mirrors_of_declared, stacked_interfaces
from reconciler.verify.foreign import addressed_taps, bridge_on_vlan, foreign_flows, hooks_on_ours
from reconciler.verify.frames import Exit, Probe, read_exits
from reconciler.verify.namespace import Namespace, parse_namespace, parse_unnamed
from reconciler.verify.neighbours import Neighbour, check_replies, neighbours
from reconciler.verify.packets import Network
from reconciler.verify.probes import LivePort, Switch, local_probes, onward_probes
from reconciler.verify.routing import compare_packets, network_of
from reconciler.verify.verification import Verification, Violation, compare_frames, restricted_to, router_violation
from reconciler.workflow.load import Inputs
from reconciler.workflow.refresh import compare, present_resources


async def verify(
    inputs: Inputs,
    reader: StateReader,
    connector: Connector,
    scope: Collection[SliceKey] | None = None,
    *,
    probe: bool = False,
) -> Verification:
    """Verify that the hosts carry exactly the declared links, of some slices or of all; reads only, except `probe`.

    First each host is read: its ports and mirrors, its kernel's namespaces, its routers. Then its switch is asked where
    frames of its ports go, and where frames go that arrive by the trunk. Raises HostError if a host cannot be read,
    because a host that was not read is not verified. With `probe`, routers also send ARP requests to guests.
    """
    declared_resources = await asyncio.to_thread(present_resources, reader)
    declared = declare(declared_resources)
    in_scope = await asyncio.to_thread(present_resources, reader, scope)
    bridge = inputs.cluster.cluster.bridge
    hosts = {HostName(host.name) for host in inputs.cluster.cluster.hosts()}
    for resource in in_scope:
        if resource.slice is not None and resource.host not in hosts:
            raise HostUnknown(resource.host)
    ports, bridges, kernels, routers = await asyncio.gather(
        read_ports(connector, hosts),
        read_bridges(connector, bridge.name, hosts),
        read_kernels(connector, hosts),
        _router_violations(in_scope, connector),
    )
    now = {former: one.address for one in (*declared_resources, *in_scope) for former in one.formerly}
    switches = {host: _switch(host, bridge, found, now) for host, found in ports.items()}
    networks = {host: _network(declared, host, switches[host], found) for host, found in kernels.items()}
    local = await _follow(connector, bridge.name, local_probes(declared, switches))
    onward = await _follow(connector, bridge.name, onward_probes(local, switches))
    result = compare_frames(declared, switches, {**local, **onward})
    result = result if scope is None else restricted_to(result, declared, scope)
    routed, wrong_paths = compare_packets(declared, networks, scope)
    others = [
        violation
        for host in sorted(switches)
        for violation in _others(declared, switches[host], networks[host], _hidden(host, kernels[host]), bridges[host])
    ]
    open_paths = open_to_guests(declared, networks)
    violations = (*result.violations, *wrong_paths, *open_paths, *others, *routers)
    result = replace(result, routed=routed, violations=violations)
    return await _probed(result, declared, connector, scope) if probe else result


async def _probed(
    result: Verification, declared: Declared, connector: Connector, scope: Collection[SliceKey] | None
) -> Verification:
    """Probe guests by ARP, and add their replies to a verification."""
    asked = neighbours(declared, scope)
    by_host: dict[HostName, list[Neighbour]] = {}
    for one in asked:
        by_host.setdefault(one.host, []).append(one)
    questions = {
        host: [Question(one.namespace, one.interface, one.router, one.ip) for one in there]
        for host, there in by_host.items()
    }
    found = await probe_neighbours(connector, questions)
    replies = {one: macs for host, there in by_host.items() for one, macs in zip(there, found[host], strict=True)}
    probed, wrong_replies = check_replies(asked, replies)
    return replace(result, probed=probed, violations=(*result.violations, *wrong_replies))


async def _router_violations(resources: Iterable[Resource], connector: Connector) -> list[Violation]:
    """Return how the rules of segments and uplinks differ from the state; switches do not show these."""
    found = await compare([one for one in resources if one.verified], connector)
    for item in found:
        if item.kind is DriftKind.UNREACHABLE:
            raise HostError(item.host, f"{item.address} cannot be read: {item.message}")
    return [router_violation(item.address, item.host, [each.name for each in item.attributes]) for item in found]


def _switch(host: HostName, bridge: Bridge, ports: Iterable[SwitchPort], now: Mapping[Address, Address]) -> Switch:
    """Return a host's switch; `now` has the address of each renamed resource, by the one that its port has as tag."""
    live = (port for port in ports if port.bridge == bridge.name and port.ofport >= 0)
    found = {port.name: _live_port(host, port, now) for port in live}
    trunk = found.pop(bridge.trunk, None)
    own = found.pop(bridge.name, None)
    return Switch(bridge.name, trunk, tuple(found[name] for name in sorted(found)), own)


def _network(declared: Declared, host: HostName, switch: Switch, readings: Iterable[Reading]) -> Network:
    """Parse a host's namespaces that have a name, and its own; raises HostError if one cannot be parsed."""
    spaces = [
        _parsed(host, one, parse_namespace, one.rules, one.network, one.settings, one.forwards_ipv6, one.chains)
        for one in readings
        if not one.unnamed
    ]
    return network_of(declared, switch, host, spaces)


def _hidden(host: HostName, readings: Iterable[Reading]) -> list[Namespace]:
    """Parse a host's namespaces that have no name; raises HostError if one cannot be parsed."""
    return [_parsed(host, one, parse_unnamed, one.network) for one in readings if one.unnamed]


def _parsed(host: HostName, one: Reading, parse: Callable[..., Namespace], *printed: object) -> Namespace:
    try:
        return parse(one.namespace, *printed)
    except ValueError as error:
        where = f"the namespace {one.namespace}" if one.namespace else "its own namespace"
        raise HostError(host, f"{where} cannot be parsed: {error}") from error


def _others(
    declared: Declared, switch: Switch, network: Network, hidden: Sequence[Namespace], bridge: BridgeReading
) -> Iterator[Violation]:
    """Yield what else of a host gets or changes frames, which a trace does not list."""
    host, spaces = network.host, network.namespaces
    mirrors = [_mirror(one) for one in bridge.mirrors if one.bridge == switch.bridge]
    yield from mirrors_of_declared(declared, host, switch, mirrors)
    yield from stacked_interfaces(declared, host, switch, (*spaces, *hidden))
    yield from addressed_taps(declared, host, spaces)
    yield from bridge_on_vlan(declared, host, switch, spaces)
    yield from foreign_flows(declared, host, switch.bridge, bridge.foreign_flows)
    yield from hooks_on_ours(declared, host, switch, spaces)


def _mirror(one: SwitchMirror) -> Mirror:

    return Mirror(one.name, one.all, one.ports, one.vlans, one.to_port, one.to_vlan)


def _live_port(host: HostName, port: SwitchPort, now: Mapping[Address, Address]) -> LivePort:
    tag = port.tags.get(TAG, "")
    return LivePort(host, port.name, port.ofport, port.tag, port.trunks, now.get(Address(tag), tag))


async def _follow(connector: Connector, bridge: str, probes: Sequence[Probe]) -> dict[Probe, tuple[Exit, ...]]:
    """Trace frames on each switch; raises HostError if an action cannot be followed."""
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
