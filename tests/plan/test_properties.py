"""Tests properties of every plan, for generated files and wherever the last apply stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reconciler.errors import Limit, LimitError, PlanError
from reconciler.plan import build
from reconciler.plan.model import Action, Plan
from reconciler.plan.outcome import carried_out
from reconciler.plan.resources import Port, Resource, Segment, Vm, from_data, to_data
from reconciler.plan.resources.base import kind_in
from reconciler.plan.snapshot import Cordon, SliceAllocation, StateSnapshot, Status, claims
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, HostName, SliceKey
from reconciler.views.plan_json import render_json
from reconciler.views.plan_text import render_text
from tests.effort import examples
from tests.plan.examples import EMPTY
from tests.plan.replay import replay, within
from tests.plan.strategies import clusters, reordered, slices, worlds

usual = settings(
    max_examples=examples(40),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def build_plan(*args: Any, **options: Any) -> Plan:
    """Plan, and give up an example that would shrink a disk: such an edit is refused."""
    try:
        return build.build_plan(*args, **options)
    except PlanError as error:
        assume(" cannot shrink: " not in str(error))
        raise


def applied(on: Cluster, written: Iterable[ExpandedSlice], state: StateSnapshot = EMPTY) -> StateSnapshot:
    """Return the state once these slices are applied, each on its own, as their owners would."""
    for one in written:
        state = replay(state, build_plan(on, [one], state))
    return state


def existing(state: StateSnapshot) -> dict[Address, Resource]:
    assert {entry.status for entry in state.resources.values()} <= {Status.PRESENT}
    return {where: entry.resource for where, entry in state.resources.items()}


@st.composite
def edits(draw: st.DrawFn) -> tuple[Cluster, StateSnapshot, list[ExpandedSlice]]:
    """Draw a cluster, a state of slices applied there, and new files of the same and further slices."""
    on = draw(clusters())
    state = applied(on, draw(worlds()))
    return on, state, draw(worlds())


@usual
@given(edits())
def test_a_plan_is_empty_once_it_is_applied(edit: tuple[Cluster, StateSnapshot, list[ExpandedSlice]]) -> None:
    on, state, written = edit
    planned = build_plan(on, written, state)
    after = replay(state, planned)
    assert carried_out(state, planned) == after
    again = build_plan(on, written, after)
    assert again.changes == ()
    assert again.empty
    assert again.counters == after.counters
    assert again.disturbed == ()


@usual
@given(st.data())
def test_the_order_of_files_keys_links_and_ends_changes_no_byte(data: st.DataObject) -> None:
    on, state, written = data.draw(edits())
    other = data.draw(st.permutations([data.draw(reordered(one)) for one in written]))
    inputs = {f"{one.name}.yaml": one.name for one in written}
    turned = dict(reversed(inputs.items()))
    one, two = build_plan(on, written, state, inputs=inputs), build_plan(on, other, state, inputs=turned)
    assert render_text(one) == render_text(two)
    assert render_json(one) == render_json(two)


@usual
@given(edits())
def test_an_edit_moves_nothing_that_stays(edit: tuple[Cluster, StateSnapshot, list[ExpandedSlice]]) -> None:
    on, state, written = edit
    plan = build_plan(on, written, state)
    for one in written:
        before, after = state.allocations.get(one.key), plan.allocations[one.key]
        if before is not None:
            assert before.id == after.id
            _same_vms(one, before, after)
            _same_links(one, before, after)


def _same_vms(written: ExpandedSlice, before: SliceAllocation, after: SliceAllocation) -> None:
    for name in before.vms.keys() & after.vms.keys():
        had, has = before.vms[name], after.vms[name]
        assert had.id == has.id
        if written.vms[name].worker in {None, had.worker}:
            assert (had.worker, had.vnc) == (has.worker, has.vnc)
        if had.internet and has.internet:
            assert had.internet == has.internet


def _same_links(written: ExpandedSlice, before: SliceAllocation, after: SliceAllocation) -> None:
    subnets = {str(link.subnet) for link in written.links if link.subnet}
    for key in before.links.keys() & after.links.keys():
        had, has = before.links[key], after.links[key]
        assert (had.id, had.vlan) == (has.id, has.vlan)
        if not {had.subnet, has.subnet} & subnets:
            assert had.subnet == has.subnet


@usual
@given(clusters(), worlds(most=4))
def test_numbers_are_unique_where_they_meet(on: Cluster, written: list[ExpandedSlice]) -> None:
    for state in (applied(on, written), replay(EMPTY, build_plan(on, written, EMPTY))):
        found = Counter(claim for key, had in state.allocations.items() for claim in claims(key, had))
        assert set(found.values()) <= {1}
        resources = existing(state).values()
        _unique(item.mac for item in resources if isinstance(item, Port))
        _unique((item.host, item.tap) for item in resources if isinstance(item, Port))
        _unique((item.host, item.vnc) for item in resources if isinstance(item, Vm))
        _unique(item.vlan for item in resources if isinstance(item, Segment))
        _unique((item.slice, item.ip) for item in resources if isinstance(item, Segment))
        _unique((item.host, item.interface) for item in resources if isinstance(item, Segment))


def _unique(values: Iterable[object]) -> None:
    assert [value for value, count in Counter(values).items() if count > 1] == []


@usual
@given(clusters(), worlds(most=4))
def test_no_pool_holds_a_reserved_or_internet_vlan(on: Cluster, written: list[ExpandedSlice]) -> None:
    for had in applied(on, written).allocations.values():
        given_out = {vlan for block in had.pool for vlan in range(block.first, block.last + 1)}
        assert not given_out & {on.internet.vlan, *on.vlans.reserved}
        assert {link.vlan for link in had.links.values()} <= given_out


@usual
@given(edits())
def test_every_link_ends_at_nics_that_its_vms_have(edit: tuple[Cluster, StateSnapshot, list[ExpandedSlice]]) -> None:
    on, state, written = edit
    plan = build_plan(on, written, state)
    for had in plan.allocations.values():
        for key in had.links:
            for end in key.split("--"):
                vm, _, number = end.partition(":eth")
                assert int(number) < {str(name): given.nics for name, given in had.vms.items()}[vm]


@usual
@given(edits())
def test_steps_need_only_earlier_steps(edit: tuple[Cluster, StateSnapshot, list[ExpandedSlice]]) -> None:
    on, state, written = edit
    plan = build_plan(on, written, state, destroy=_others(state, written))
    assert [step.id for step in plan.steps] == list(range(1, len(plan.steps) + 1))
    assert all(need < step.id for step in plan.steps for need in step.needs)


def _others(state: StateSnapshot, written: Iterable[ExpandedSlice]) -> list[SliceKey]:
    return sorted(state.allocations.keys() - {one.key for one in written})


@usual
@given(edits())
def test_nothing_is_made_before_its_needs_nor_removed_while_needed(
    edit: tuple[Cluster, StateSnapshot, list[ExpandedSlice]],
) -> None:
    on, state, written = edit
    plan = build_plan(on, written, state, destroy=_others(state, written))
    world = {(resource.host, where): resource for where, resource in existing(state).items()}
    for step in plan.steps:
        place = step.host, step.address
        match step.action:
            case Action.DELETE:
                del world[place]
            case Action.CREATE:
                assert place not in world
                world[place] = step.subject
            case _:
                assert step.before is not None
                assert (step.before.host, step.address) in world
                assert (place in world) is not step.moves
                world[place] = step.subject
        there = {where for _, where in world}
        assert all(need in there for resource in world.values() for need in resource.needs), step
        assert all((vm.host, need) in world for vm in world.values() if vm.runtime for need in vm.needs), step


@usual
@given(clusters(), worlds())
def test_removals_reverse_creations(on: Cluster, written: list[ExpandedSlice]) -> None:
    made = build_plan(on, written, EMPTY)
    after = replay(EMPTY, made)
    gone = build_plan(on, [], after, destroy=[one.key for one in written])
    assert {change.action for change in gone.changes} <= {Action.DELETE}
    creations, removals = {(later, earlier) for earlier, later in _pairs(made)}, _pairs(gone)
    assert creations <= removals
    late = {(kind_in(first), kind_in(then)) for first, then in removals - creations}
    assert late <= {(Vm.kind, kind) for kind in Vm.may_precede}, "only VMs do not wait for what is removed after them"
    end = replay(after, gone)
    assert (end.resources, end.allocations, end.held) == ({}, {}, {})


def _pairs(plan: Plan) -> set[tuple[Address, Address]]:
    """Return which step waits for which, by their addresses."""
    where = {step.id: step.address for step in plan.steps}
    return {(where[need], step.address) for step in plan.steps for need in step.needs}


@pytest.mark.slow
@settings(usual, max_examples=examples(60))
@given(st.data())
def test_a_crash_at_any_step_converges(data: st.DataObject) -> None:
    on, state, written = data.draw(edits())
    destroy = _others(state, written) if data.draw(st.booleans()) else []
    plan = build_plan(on, written, state, destroy=destroy)
    whole = replay(state, plan)
    cut = state
    for _ in range(data.draw(st.integers(1, 2))):
        again = build_plan(on, written, cut, destroy=destroy)
        cut = replay(cut, again, data.draw(st.integers(0, len(again.steps))), cut=data.draw(st.booleans()))
    end = replay(cut, build_plan(on, written, cut, destroy=destroy))
    assert _plain(existing(end)) == _plain(existing(whole))
    assert end.allocations == whole.allocations
    assert (end.counters, end.held) == (whole.counters, {})


def _plain(found: Mapping[Address, Resource]) -> dict[Address, Resource]:
    return dict(sorted(found.items()))


@pytest.mark.slow
@settings(usual, max_examples=examples(60))
@given(st.data())
def test_another_slices_crash_costs_this_one_nothing(data: st.DataObject) -> None:
    on, state, (one,) = *data.draw(edits())[:2], data.draw(worlds(most=1))
    plan = build_plan(on, [one], state)
    cut = replay(state, plan, data.draw(st.integers(0, len(plan.steps))))
    other = data.draw(slices(data.draw(st.sampled_from([SliceKey("bob/other"), *_others(state, [one])]))))
    beside = build_plan(on, [other], within(cut, other.key))
    assert {step.subject.slice for step in beside.steps} <= {other.key, None}
    after = replay(cut, beside)
    needed = {need for entry in after.resources.values() for need in entry.resource.needs}
    removed = {step.address for step in beside.steps if step.action is Action.DELETE}
    assert not needed & (removed - after.resources.keys())
    end = replay(after, build_plan(on, [one], after))
    assert build_plan(on, [one, other], end).empty


@usual
@given(st.data())
def test_a_change_of_mind_after_a_crash_leaves_nothing_behind(data: st.DataObject) -> None:
    on, state, written = data.draw(edits())
    plan = build_plan(on, written, state)
    cut = replay(state, plan, data.draw(st.integers(0, len(plan.steps))))
    other = [data.draw(slices(one.key)) for one in written]
    end = replay(cut, build_plan(on, other, cut))
    assert build_plan(on, other, end).empty
    gone = replay(end, build_plan(on, [], end, destroy=sorted(end.allocations)))
    assert (gone.resources, gone.allocations, gone.held) == ({}, {}, {})


@usual
@given(clusters(), worlds())
def test_resources_come_back_from_plain_data(on: Cluster, written: list[ExpandedSlice]) -> None:
    for resource in existing(applied(on, written)).values():
        again = from_data(to_data(resource))
        assert again == resource
        assert (again.needs, again.after) == (resource.needs, resource.after)


@usual
@given(edits())
def test_what_is_held_is_not_given_again(edit: tuple[Cluster, StateSnapshot, list[ExpandedSlice]]) -> None:
    on, state, written = edit
    gone = sorted(state.allocations)
    begun = replay(state, build_plan(on, [], state, destroy=gone), 0)
    fresh = [replace(one, name=f"new-{one.name}") for one in written]
    plan = build_plan(on, fresh, replace(begun, resources={}))
    kept = {claim for key, had in begun.allocations.items() for claim in claims(key, had)}
    new = {claim for key, had in plan.allocations.items() for claim in claims(key, had)}
    assert not kept & new


@usual
@given(st.data())
def test_an_evacuation_in_turns_has_an_order_wherever_it_was_cut(data: st.DataObject) -> None:
    on, state, written = data.draw(edits())
    worker = data.draw(st.sampled_from(on.workers)).name
    assume(all(vm.worker != worker for one in written for vm in one.vms.values()))
    state = replace(state, cordoned={HostName(worker): Cordon("anna", "2026-01-01T00:00:00+00:00")})
    for _ in range(3):
        plan = evacuated(on, written, state, worker)
        state = replay(state, plan, data.draw(st.integers(0, len(plan.steps))), cut=data.draw(st.booleans()))
    end = replay(state, evacuated(on, written, state, worker))
    assert evacuated(on, written, end, worker).empty


def evacuated(on: Cluster, written: Iterable[ExpandedSlice], state: StateSnapshot, worker: str) -> Plan:
    """Plan an evacuation, and give up an example whose other workers have no room."""
    try:
        return build_plan(on, written, state, evacuate={worker: None}, moves_at_once=1)
    except LimitError as error:
        assume(error.limit is not Limit.CAPACITY)
        raise
