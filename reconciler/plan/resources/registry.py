"""Lists the kinds of resources, and writes and reads resources of every kind as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from reconciler.plan.resources.base import Kind, Resource
from reconciler.plan.resources.disk import Disk
from reconciler.plan.resources.image import Image
from reconciler.plan.resources.port import Port
from reconciler.plan.resources.reservation import Reservation
from reconciler.plan.resources.router import Router
from reconciler.plan.resources.seed import Seed
from reconciler.plan.resources.segment import Segment
from reconciler.plan.resources.trunk import Trunk
from reconciler.plan.resources.uplink import Uplink
from reconciler.plan.resources.vm import Vm
from reconciler.spec.models.fields import UpdatePolicy


class Registry(Mapping[Kind, type[Resource]]):
    """The nouns by kind, in the order in which plans list them: what others depend on comes first."""

    def __init__(self, nouns: Iterable[type[Resource]] = ()) -> None:
        self._nouns: dict[Kind, type[Resource]] = {}
        for noun in nouns:
            self.register(noun)

    def register(self, noun: type[Resource]) -> None:
        """Add a kind after those that are there; raises ValueError where its name is taken."""
        if self._nouns.setdefault(noun.kind, noun) is not noun:
            raise ValueError(f"two kinds of resources are named {noun.kind}")

    def remove(self, kind: Kind) -> None:
        """Remove a kind; raises KeyError where there is none of this name."""
        del self._nouns[kind]

    def __getitem__(self, kind: Kind) -> type[Resource]:
        return self._nouns[kind]

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._nouns)

    def __len__(self) -> int:
        return len(self._nouns)


KINDS = Registry((Image, Uplink, Router, Trunk, Reservation, Segment, Disk, Seed, Port, Vm))
"""Every kind of resource."""

_POLICIES: dict[type[Resource], Mapping[str, UpdatePolicy]] = {}
_FIELD_NAMES: dict[type, tuple[str, ...]] = {}


def attributes(kind: Kind) -> Mapping[str, UpdatePolicy]:
    """Return the names of a kind's attributes with the policy of each, in the order of their declaration."""
    noun = KINDS[kind]
    if noun not in _POLICIES:
        _POLICIES[noun] = _policies(noun)
    return _POLICIES[noun]


def _policies(noun: type[Resource]) -> Mapping[str, UpdatePolicy]:
    hints = get_type_hints(noun, include_extras=True)
    metadata = {item.name: getattr(hints[item.name], "__metadata__", ()) for item in fields(noun)}
    return {name: policy for name, found in metadata.items() for policy in found if isinstance(policy, UpdatePolicy)}


def to_data(resource: Resource) -> dict[str, Any]:
    """Write a resource as plain data (dicts, lists, strings, numbers) that `from_data` reads back."""
    data: dict[str, Any] = {"kind": resource.kind}
    for name in _field_names(type(resource)):
        data[name] = plain(getattr(resource, name))
    if not resource.formerly:  # so that all others are written as by versions that knew no renames
        del data["formerly"]
    return data


def from_data(data: Mapping[str, Any]) -> Resource:
    """Read a resource back; raises KeyError or TypeError where the data is not of a resource."""
    noun = KINDS[data["kind"]]
    return noun(**{name: _value(noun, name, value) for name, value in data.items() if name != "kind"})


def plain(value: Any) -> Any:
    """Write the value of an attribute as plain data."""
    if isinstance(value, tuple):
        return [_plain_item(item) for item in value]
    return value


def _plain_item(item: Any) -> Any:
    if hasattr(item, "__dataclass_fields__"):
        return {name: getattr(item, name) for name in _field_names(type(item))}
    return item


def _field_names(structure: type) -> tuple[str, ...]:
    if structure not in _FIELD_NAMES:
        _FIELD_NAMES[structure] = tuple(item.name for item in fields(structure))
    return _FIELD_NAMES[structure]


def _value(noun: type[Resource], name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    structure = noun.nested.get(name)
    return tuple(value) if structure is None else tuple([structure(**item) for item in value])
