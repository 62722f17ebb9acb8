"""The declared graph, its probes and their comparison, on model switches that flood a frame to every port of its VLAN.

Such a switch is the simplest correct one. The tests on the lab do the same on real switches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconciler.plan.model import Plan
from reconciler.plan.resources import Port, Resource, Segment, Trunk
from reconciler.spec.models.cluster import PARKING_VLAN
from reconciler.spec.models.names import HostName
from reconciler.verify.declared import Declared, declare
from reconciler.verify.frames import Exit, FrameKind, Probe
from reconciler.verify.probes import LivePort, Switch, Switches, local_probes, onward_probes
from reconciler.verify.verification import Verification, ViolationKind, compare_frames, restricted_to
from tests.plan.examples import LAB1, LAB2, lab, plan

PAIR = lab(("a", "b"), [["a", "b"]])
OTHERS = lab({"c": {"internet": True}, "d": {"internet": True}}, [["c", "d"]], key=LAB2)
HOSTS = [HostName(name) for name in ("gateway", "worker1", "worker2", "worker3")]


def declared_by(made: Plan) -> Declared:
    """Return what a plan's resources declare once they stand."""
    return declare([change.after for change in made.changes if change.after is not None])


def as_declared(declared: Declared) -> dict[HostName, Switch]:
    """Return the switches as an apply leaves them."""
    found = {}
    for host in HOSTS:
        here = [one for one in declared.stations.values() if one.host == host and one.vlan is not None]
        ports = [LivePort(host, one.interface, at, one.vlan, owner=one.address) for at, one in enumerate(here, start=2)]
        carried = frozenset({*declared.carried.get(host, ()), PARKING_VLAN})
        found[host] = Switch("br-int", LivePort(host, "ens4", 1, None, carried), tuple(ports))
    return found


def verify(declared: Declared, switches: Switches, *, guarded: bool = True) -> Verification:
    """Ask the model's switches everything, and check_replies."""
    local = {probe: trace(declared, switches[probe.host], probe, guarded) for probe in local_probes(declared, switches)}
    onward = {probe: trace(declared, switches[probe.host], probe, guarded) for probe in onward_probes(local, switches)}
    return compare_frames(declared, switches, local | onward)


def trace(declared: Declared, switch: Switch, probe: Probe, guarded: bool) -> Sequence[Exit]:
    """Flood a frame to its VLAN, as the guards allow."""
    trunk, frame = switch.trunk, probe.frame
    assert trunk is not None
    port = next(one for one in (trunk, *switch.ports) if one.name == probe.port)
    sender = next((one for one in declared.stations.values() if one.mac == frame.source), None)
    if guarded and frame.kind.forged:
        return ()
    vlan = port.tag if port.tag is not None else frame.vlan
    if vlan is None or not port.carries(vlan) or (port.tag is not None and frame.vlan is not None):
        return ()
    isolated = sender is not None and sender.gateway_mac is not None
    if isolated and (
        frame.kind is FrameKind.UNKNOWN or (port is trunk and vlan in declared.guarded.get(probe.host, ()))
    ):
        return ()
    open_to = [] if isolated and port is not trunk else [one for one in switch.ports if one is not port]
    exits = [Exit(one.name, vlan if one.tag is None else None) for one in open_to if one.carries(vlan)]
    return [*exits, *([Exit(trunk.name, vlan)] if port is not trunk and trunk.carries(vlan) else [])]


def with_port(switches: Switches, port: LivePort) -> dict[HostName, Switch]:
    """Return the switches with a port in place of the one of its name, or added."""
    here = switches[port.host]
    rest = tuple(one for one in here.ports if one.name != port.name)
    return {**switches, port.host: replace(here, ports=(*rest, port))}


def test_the_declared_graph_has_links_with_their_segments_and_the_gateway_of_the_internet() -> None:
    declared = declared_by(plan(PAIR, OTHERS))
    assert {tuple(sorted(edge)) for edge in declared.graph.edges} == {
        ("port/alice/lab1/a:eth1", "port/alice/lab1/b:eth1"),
        ("port/alice/lab1/a:eth1", "segment/alice/lab1/a:eth1--b:eth1"),
        ("port/alice/lab1/b:eth1", "segment/alice/lab1/a:eth1--b:eth1"),
        ("port/bob/lab2/c:eth1", "port/bob/lab2/d:eth1"),
        ("port/bob/lab2/c:eth1", "segment/bob/lab2/c:eth1--d:eth1"),
        ("port/bob/lab2/d:eth1", "segment/bob/lab2/c:eth1--d:eth1"),
        ("port/bob/lab2/c:eth0", "uplink/gateway"),
        ("port/bob/lab2/d:eth0", "uplink/gateway"),
    }
    assert declared.undeclared == 11 * 10 // 2 - 8, "eight ports, two segments and the gateway"


def test_a_network_as_declared_is_verified() -> None:
    declared = declared_by(plan(PAIR, OTHERS))
    result = verify(declared, as_declared(declared))
    assert result.violations == ()
    assert (result.present, result.absent) == (8, 47)
    assert result.dropped == 4 * 8 + 2 * 12 + 2, "eight from a port of a link, twelve on the internet VLAN, two trunks"


def test_a_slice_is_verified_against_all_others() -> None:
    declared = declared_by(plan(PAIR, OTHERS))
    switches = as_declared(declared)
    ports = {port.owner: port for switch in switches.values() for port in switch.ports}
    one, other = ports["port/alice/lab1/a:eth1"], ports["port/bob/lab2/d:eth1"]
    result = verify(declared, with_port(switches, replace(other, tag=one.tag)))
    assert len(result.violations) > len(restricted_to(result, declared, {LAB1}).violations) > 0
    within = restricted_to(verify(declared, switches), declared, {LAB1})
    assert (within.present, within.absent) == (3, 5 * 4 // 2 + 5 * 6 - 3)


def test_without_guards_forged_frames_get_through() -> None:
    declared = declared_by(plan(PAIR))
    result = verify(declared, as_declared(declared), guarded=False)
    forged = [one for one in result.violations if one.kind is ViolationKind.FORGED]
    assert {one.ends[0] for one in forged} == {"port/alice/lab1/a:eth1", "port/alice/lab1/b:eth1"}
    kinds = {str(one).partition(", sent by port/")[0].partition(": ")[2] for one in forged}
    assert kinds == {
        "a frame from a forged MAC",
        "a frame from the MAC of a neighbour",
        "a frame from a multicast MAC",
        "a frame from the broadcast MAC",
    }, "this model's switches drop what is tagged at a port of one VLAN"


def test_a_vlan_that_the_state_gives_to_two_slices_is_a_leak() -> None:
    made = [change.after for change in plan(PAIR, OTHERS).changes if change.after is not None]
    shared = next(one.vlan for one in made if isinstance(one, Port) and one.address == "port/alice/lab1/a:eth1")
    taken = next(one.vlan for one in made if isinstance(one, Port) and one.address == "port/bob/lab2/c:eth1")
    assert shared is not None
    twice: list[Resource] = []
    for one in made:
        if isinstance(one, Trunk):
            twice.append(replace(one, vlans=tuple(shared if vlan == taken else vlan for vlan in one.vlans)))
        elif isinstance(one, Port | Segment) and one.vlan == taken:
            twice.append(replace(one, vlan=shared))
        else:
            twice.append(one)
    declared = declare(twice)
    leaks = {one.ends for one in verify(declared, as_declared(declared)).violations}
    assert ("port/alice/lab1/a:eth1", "port/bob/lab2/c:eth1") in leaks


def test_an_interface_that_was_not_read_as_a_port_is_reported() -> None:
    declared = declared_by(plan(PAIR))
    switches = as_declared(declared)
    frame_exits = {probe: (Exit("slave0", 100), Exit("br-int", 100)) for probe in local_probes(declared, switches)}
    leaks = [
        one for one in compare_frames(declared, switches, frame_exits).violations if one.kind is ViolationKind.LEAK
    ]
    assert leaks
    assert all("the interface slave0 of" in str(one) for one in leaks)


@given(st.data())
def test_any_port_on_a_wrong_vlan_is_named(data: st.DataObject) -> None:
    declared = declared_by(plan(PAIR, OTHERS))
    switches = as_declared(declared)
    ports = [port for host in HOSTS for port in switches[host].ports if "/eth0" not in port.owner]
    moved = data.draw(st.sampled_from(ports))
    tags = sorted({port.tag for port in ports if port.tag is not None} - {moved.tag})
    result = verify(declared, with_port(switches, replace(moved, tag=data.draw(st.sampled_from(tags)))))
    missing = [one for one in result.violations if one.kind is ViolationKind.MISSING]
    assert missing
    assert all(moved.owner in one.ends for one in missing)
    assert result.present == 8 - len(missing)


@given(host=st.sampled_from(HOSTS), tagged=st.booleans())
def test_any_rogue_port_on_a_used_vlan_is_named(host: HostName, tagged: bool) -> None:
    declared = declared_by(plan(PAIR))
    switches = as_declared(declared)
    (vlan,) = declared.vlans
    result = verify(declared, with_port(switches, LivePort(host, "rogue0", 9, vlan if tagged else None)))
    named = any(f"the port rogue0 of {host}" in end for one in result.violations for end in one.ends)
    assert named == (vlan in declared.carried.get(host, ())), "where the trunk does not bring the VLAN nothing arrives"
