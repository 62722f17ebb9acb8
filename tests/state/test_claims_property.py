"""Whatever fails, and whenever: a VLAN that may still be on a host is taken, and in the end none is leaked."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.plan.model import Step
from reconciler.plan.resources import Port
from reconciler.plan.results import StepResult, StepStatus
from reconciler.plan.snapshot import Status, claims
from reconciler.state.sql.store import open_store
from reconciler.state.store import StateStore
from tests.contracts.states import ANNA, LAB1, allocation, plan, port, resource_states, steps
from tests.effort import examples


class Course(Enum):
    """How an apply of one step ends."""

    DONE = auto()
    KILLED_AFTER_RESULT = auto()
    CUT_BEFORE_EFFECT = auto()
    CUT_AFTER_EFFECT = auto()
    REFUSED = auto()
    SKIPPED = auto()
    KILLED_BEFORE_INTENT = auto()
    KILLED_AFTER_INTENT = auto()


ROUNDS = st.lists(st.tuples(st.sampled_from([None, 0, 1, 2]), st.sampled_from(Course)), max_size=8)
"""What is wanted, a VLAN of the slice's pool or that the slice be gone, and what becomes of the apply."""

TAKES_EFFECT = {Course.DONE, Course.KILLED_AFTER_RESULT, Course.CUT_AFTER_EFFECT, Course.KILLED_AFTER_INTENT}


@pytest.mark.slow
@given(ROUNDS)
@settings(max_examples=examples(60), deadline=None)
def test_a_vlan_that_may_be_on_a_host_is_taken_and_one_that_is_gone_is_free(
    rounds: list[tuple[int | None, Course]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "lab.db", cluster="lab", clock=lambda: datetime.now(UTC))
        vlan: int | None = None
        for wanted, course in rounds:
            vlan = apply(store, vlan, wanted, course)
            assert vlan is None or vlan in taken(store)
        apply(store, vlan, 1, Course.DONE)
        assert taken(store) == {101}
        apply(store, 101, None, Course.KILLED_AFTER_RESULT)
        snapshot = store.read()
        assert (snapshot.allocations, snapshot.held, snapshot.resources) == ({}, {}, {})
        store.close()


def apply(store: StateStore, vlan: int | None, wanted: int | None, course: Course) -> int | None:
    """Bring the slice's one port to a VLAN, or away, and return the VLAN that is on the host then."""
    todo = steps_towards(store, wanted)
    made = {LAB1: allocation(vlans=(wanted,))} if wanted is not None else {}
    number = store.begin(plan(store, made, todo=todo, leaving=(LAB1,)), ANNA, "")
    if course is Course.KILLED_BEFORE_INTENT:
        return vlan
    if course is not Course.SKIPPED:
        store.intend(number, todo)
        if todo and course in TAKES_EFFECT:
            vlan = None if wanted is None else 100 + wanted
        if course is Course.KILLED_AFTER_INTENT:
            return vlan
        store.record(number, [result_of(step, course) for step in todo])
    if course is not Course.KILLED_AFTER_RESULT:
        store.finish(number, "", len(todo) if course is Course.SKIPPED else 0)
    return vlan


def steps_towards(store: StateStore, wanted: int | None) -> tuple[Step, ...]:
    """Plan as the planner does: from the state alone, and again where the resource is not present."""
    snapshot = resource_states(store).get(port(100).address)
    after = None if wanted is None else port(100 + wanted)
    before = None if snapshot is None else snapshot.resource
    if before == after and (snapshot is None or snapshot.status is Status.PRESENT):
        return ()
    return steps((before, after))


def result_of(step: Step, course: Course) -> StepResult:
    """Return how a step ended, as the executor does."""
    if course in (Course.DONE, Course.KILLED_AFTER_RESULT):
        return StepResult(step, StepStatus.DONE)
    if course is Course.REFUSED:
        return StepResult(step, StepStatus.FAILED, "busy")
    return StepResult(step, StepStatus.UNKNOWN, "connection lost")


def taken(store: StateStore) -> set[int]:
    """Return every VLAN that no other slice can be given, and that the state knows some use for."""
    snapshot = store.read()
    kept = {claim for key, given in snapshot.allocations.items() for claim in claims(key, given)}
    kept |= {claim for held in snapshot.held.values() for claim in held}
    assert all(isinstance(found.resource, Port) for found in snapshot.resources.values())
    return {int(claim.value) for claim in kept if claim.kind == "vlan"}
