"""Encodes allocations and resources as compact JSON documents, and decodes them."""

from __future__ import annotations

import json
from typing import Any

from reconciler.plan.resources import Resource, from_data, to_data
from reconciler.plan.snapshot import SliceAllocation, allocation_data, allocation_from_data


def encode_allocation(allocation: SliceAllocation) -> str:
    """Write a slice's allocation; the same allocation gives the same text whatever the order of its mappings."""
    return _encode(allocation_data(allocation))


def decode_allocation(text: str) -> SliceAllocation:
    """Read what `encode_allocation` wrote; raises ValueError, KeyError or TypeError for anything else."""
    return allocation_from_data(json.loads(text))


def encode_resource(resource: Resource) -> str:
    """Write a resource with its kind, all its attributes and what it needs."""
    return _encode(to_data(resource))


def decode_resource(text: str) -> Resource:
    """Read what `encode_resource` wrote; raises ValueError, KeyError or TypeError for anything else."""
    return from_data(json.loads(text))


def encode_names(names: tuple[str, ...]) -> str:
    """Write a list of names."""
    return _encode(names)


def decode_names(text: str) -> tuple[str, ...]:
    """Read a list of names."""
    return tuple(json.loads(text))


def _encode(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), sort_keys=True)
