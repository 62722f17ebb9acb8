"""Tests that a saved plan is read as it was written, and that a changed file is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import PlanFileError
from reconciler.plan.build import build_plan
from reconciler.plan.model import Plan
from reconciler.plan.planfile import MARK, SavedPlan, is_plan, plan_digest, read_plan, write_plan
from reconciler.plan.snapshot import ResourceDrift, Seen, StateSnapshot
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, SliceKey
from reconciler.views.plan_text import render_text
from tests.plan.examples import EMPTY, LAB1, lab, plan
from tests.plan.replay import replay
from tests.plan.test_properties import edits, usual

TEXT = write_plan(SavedPlan(plan(lab(vms=("a", "b"), links=[["a", "b"]])), "cluster.yaml"))


def back(made: Plan) -> Plan:
    named = replace(made, tool="1.2", inputs={"cluster.yaml": "ab", "a b/ü.yaml": "cd"})
    saved = SavedPlan(named, "cluster.yaml", ("a b/ü.yaml",))
    read = read_plan(write_plan(saved), "x.plan")
    assert read == saved
    return replace(read.plan, tool=made.tool, inputs=made.inputs)


@usual
@given(edits(), st.booleans())
def test_a_plan_is_read_as_it_was_written(
    edit: tuple[Cluster, StateSnapshot, list[ExpandedSlice]], destroy: bool
) -> None:
    on, state, written = edit
    keys = [SliceKey(one.key) for one in written] if destroy else []
    made = build_plan(on, [] if destroy else written, state, destroy=keys)
    read = back(made)
    assert read == made
    assert render_text(read) == render_text(made)
    assert plan_digest(read) == plan_digest(made)
    assert replay(state, read) == replay(state, made)


def test_what_was_seen_and_lost_is_kept() -> None:
    state = replay(EMPTY, plan(lab()))
    disk, vm = Address(f"disk/{LAB1}/a"), Address(f"vm/{LAB1}/b")
    made = plan(
        lab(),
        state=state.seen(Seen({disk: ResourceDrift(gone=True), vm: ResourceDrift(gone=False, values={"vcpus": 7})})),
    )
    assert made.data_lost
    assert back(made) == made


@usual
@given(st.integers(0, len(TEXT) - 1), st.characters(min_codepoint=32, max_codepoint=126))
def test_one_other_character_is_refused_unless_it_says_the_same(place: int, character: str) -> None:
    text = TEXT[:place] + character + TEXT[place + 1 :]
    if says(text) == says(TEXT):
        assert read_plan(text, "x.plan") == read_plan(TEXT, "x.plan")
    else:
        with pytest.raises(PlanFileError, match=r"^x\.plan "):
            read_plan(text, "x.plan")


def says(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def test_a_saved_plan_is_recognized_by_its_beginning() -> None:
    assert is_plan(TEXT[:30])
    assert not any(is_plan(text) for text in ("", "version: 1\n", "{version: 1}", '{"version": 1}', f'"{MARK}"x'[:5]))


@pytest.mark.parametrize("text", ["[]", "1", "{}", '{"version": 1}'])
def test_what_is_no_plan(text: str) -> None:
    with pytest.raises(PlanFileError, match=r"^x\.plan is not a saved plan$"):
        read_plan(text, "x.plan")


@pytest.mark.parametrize("portion", [0.1, 0.5, 0.9])
def test_a_part_of_a_plan_is_refused(portion: float) -> None:
    with pytest.raises(PlanFileError, match=r"^x\.plan is damaged: it is not valid JSON, or is truncated$"):
        read_plan(TEXT[: int(len(TEXT) * portion)], "x.plan")


def test_the_needs_of_resources_are_kept_though_they_are_no_part_of_their_equality() -> None:
    made = plan(lab(links=[["a", "b"]]))
    read = back(made)
    assert [step.subject.needs for step in read.steps] == [step.subject.needs for step in made.steps]
    assert any(step.subject.needs for step in read.steps)
    assert all(one.id < other.id for one, other in pairwise(read.steps))
