"""Every value that the models refuse is reported with a clear message at its position."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from reconciler.errors import Code, SpecError
from reconciler.spec.diagnostics import format_problem
from reconciler.spec.load import parse_cluster, parse_slice
from reconciler.spec.messages import describe, model_at, write_path
from reconciler.spec.models.cluster import Cluster, Host, Login, NetworkNode, Worker
from reconciler.spec.models.slice import Link, Slice, Vm, VmDefaults
from tests.effort import examples

PYDANTIC_TEXTS = ("Input should", "validation error", "pydantic", "Field required", "Extra inputs", "Value error")

SCALARS = (
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.sampled_from(["", "a", "web:eth1", "1GiB", "10.0.0.0/8"])
)


def _nearly(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Return dicts with keys of a model, and values of every type."""
    values = st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(_all_keys()) | st.text("aZ; ", max_size=3), inner, max_size=4)
        ),
        max_leaves=8,
    )
    return st.dictionaries(st.sampled_from([*model.model_fields, "other"]), values, max_size=8)


def _all_keys() -> list[str]:
    models = (Slice, Vm, Link, Cluster, NetworkNode, Login)
    return sorted({key for model in models for key in model.model_fields})


@pytest.mark.slow
@settings(max_examples=examples(400), deadline=None)
@given(_nearly(Slice), _nearly(Cluster))
def test_no_text_of_pydantic_is_shown(slice_data: Any, cluster_data: Any) -> None:
    for parse, data in ((parse_slice, slice_data), (parse_cluster, cluster_data)):
        with pytest.raises(SpecError) as raised:
            parse(json.dumps({"version": 2, **data}), "random.yaml")
        for problem in raised.value.problems():
            assert problem.location is not None
            assert not any(text in format_problem(problem) for text in PYDANTIC_TEXTS)


def test_all_faults_of_a_file_are_reported_in_its_order() -> None:
    text = "version: 1\nname: Lab\nowner: 7\nvms: {web: {vcpus: two}}\nlinkz: []\n"
    with pytest.raises(SpecError) as raised:
        parse_slice(text, "lab.yaml")
    assert [problem.code for problem in raised.value.problems()] == [
        Code.BAD_NAME,
        Code.WRONG_TYPE,
        Code.WRONG_TYPE,
        Code.UNKNOWN_KEY,
    ]
    assert str(raised.value) == "problems in the files: 4"


def test_paths_are_formatted_for_users() -> None:
    assert write_path(("vms", "web", "vcpus")) == "vms.web.vcpus"
    assert write_path(("links", 0, "endpoints", 1)) == "links[0].endpoints[1]"
    assert write_path(("labels", "a b\n")) == "labels.'a b\\n'"
    assert write_path(()) == "the file"


@pytest.mark.parametrize(
    ("value", "description"),
    [
        (None, "empty"),
        (True, "true"),
        (1, "the number 1"),
        ("1", "the text '1'"),
        ([], "a list"),
        ({}, "a mapping"),
    ],
)
def test_values_are_described_with_their_text(value: object, description: str) -> None:
    assert describe(value) == description


def test_the_model_at_a_path() -> None:
    assert model_at(Slice, ()) is Slice
    assert model_at(Slice, ("vms", "web")) is Vm
    assert model_at(Slice, ("groups", "routers")) is VmDefaults
    assert model_at(Slice, ("links", 3)) is Link
    assert model_at(Slice, ("name",)) is None
    assert model_at(Slice, ("nothing", "there")) is None
    assert model_at(Cluster, ("workers", 0)) is Worker
    assert model_at(Cluster, ("workers", 0, "ssh")) is Login
    assert issubclass(NetworkNode, Host)
