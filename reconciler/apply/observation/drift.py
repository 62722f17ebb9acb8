"""Compares the state with observations: which resources are missing, changed, or could not be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from reconciler.apply.observation.observe import Observation
from reconciler.apply.transport.connection import message_of
from reconciler.plan.resources import Resource, to_data
from reconciler.spec.models.names import Address, HostName


class DriftKind(StrEnum):
    """How a resource differs from its state."""

    MISSING = "missing"
    CHANGED = "changed"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class AttributeDrift:
    """One attribute in the state and on the host, as plain values."""

    name: str
    expected: Any
    observed: Any


@dataclass(frozen=True, slots=True)
class Drift:
    """One resource that differs from its state. `message` is the reason if it could not be read."""

    address: Address
    host: HostName
    kind: DriftKind
    attributes: tuple[AttributeDrift, ...] = ()
    message: str = ""


def find_drift(resources: Iterable[Resource], observed: Observation) -> tuple[Drift, ...]:
    """Compare each resource of the state with its fact, in the order of the state; those that agree are left out."""
    return tuple(drift for resource in resources if (drift := _drift(resource, observed)) is not None)


def _drift(resource: Resource, observed: Observation) -> Drift | None:
    place = (resource.host, resource.address)
    if place not in observed.attributes:
        obstacle = observed.obstacle(resource)
        message = message_of(obstacle) if obstacle else "it was not probed"
        return Drift(resource.address, resource.host, DriftKind.UNREACHABLE, message=message)
    standing = observed.attributes[place]
    if standing is None:
        return Drift(resource.address, resource.host, DriftKind.MISSING)
    data = to_data(resource)
    changed = tuple(
        AttributeDrift(name, data[name], value) for name, value in standing.items() if not _same(data[name], value)
    )
    return Drift(resource.address, resource.host, DriftKind.CHANGED, changed) if changed else None


def _same(expected: Any, observed: Any) -> bool:
    """Compare plain values. A tuple equals a list with the same items, and True is not 1."""
    if isinstance(expected, list | tuple) and isinstance(observed, list | tuple):
        return len(expected) == len(observed) and all(map(_same, expected, observed))
    return type(expected) is type(observed) and bool(expected == observed)
