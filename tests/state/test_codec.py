"""Documents of the state come back as they were, whatever is in them, and refuse what is none of them."""

from __future__ import annotations

import types
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.plan.resources import KINDS, Resource
from reconciler.plan.snapshot import Block, LinkAllocation, SliceAllocation, VmAllocation
from reconciler.state.codec import (
    decode_allocation,
    decode_names,
    decode_resource,
    encode_allocation,
    encode_names,
    encode_resource,
)

TEXT = st.text(max_size=12)
NUMBER = st.integers(min_value=-(2**63), max_value=2**63 - 1)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Give any value of a field's type, as the dataclasses of records and resources declare it."""
    hint = getattr(hint, "__supertype__", hint)
    if hint in (str, int, bool):
        return {str: TEXT, int: NUMBER, bool: st.booleans()}[hint]
    if hint is types.NoneType:
        return st.none()
    if is_dataclass(hint):
        return objects(hint)
    match get_origin(hint):
        case origin if origin is Annotated:
            return values(get_args(hint)[0])
        case origin if origin is tuple:
            return st.lists(values(get_args(hint)[0]), max_size=3).map(tuple)
        case origin if origin in (Union, types.UnionType):
            return st.one_of(*map(values, get_args(hint)))
        case _:
            pytest.fail(f"a field of type {hint}: teach the codec, then this test")


def objects(noun: Any) -> st.SearchStrategy[Any]:
    """Give any object of a dataclass."""
    hints = get_type_hints(noun, include_extras=True)
    return st.builds(noun, **{item.name: values(hints[item.name]) for item in fields(noun)})


ALLOCATIONS = st.builds(
    SliceAllocation,
    id=NUMBER,
    pool=st.lists(st.builds(Block, NUMBER, NUMBER), max_size=3).map(tuple),
    vms=st.dictionaries(TEXT, objects(VmAllocation), max_size=3),
    links=st.dictionaries(TEXT, objects(LinkAllocation), max_size=3),
)


@given(ALLOCATIONS)
def test_allocations_come_back(allocation: SliceAllocation) -> None:
    found = decode_allocation(encode_allocation(allocation))
    assert found == allocation
    assert all(type(block) is Block for block in found.pool)


@given(ALLOCATIONS)
def test_the_order_of_vms_and_links_changes_nothing(allocation: SliceAllocation) -> None:
    turned = SliceAllocation(
        allocation.id,
        allocation.pool,
        dict(reversed(list(allocation.vms.items()))),
        dict(reversed(list(allocation.links.items()))),
    )
    assert encode_allocation(turned) == encode_allocation(allocation)


@given(st.one_of(*map(objects, KINDS.values())))
def test_resources_come_back_with_what_they_need(resource: Resource) -> None:
    found = decode_resource(encode_resource(resource))
    assert found == resource
    assert (found.needs, found.after) == (resource.needs, resource.after)


@given(st.lists(TEXT).map(tuple))
def test_names_come_back_in_their_order(names: tuple[str, ...]) -> None:
    assert decode_names(encode_names(names)) == names


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "{}", '{"kind":"ship"}', '{"kind":"vm","address":"vm/a"}'])
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode_allocation(text)
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode_resource(text)
