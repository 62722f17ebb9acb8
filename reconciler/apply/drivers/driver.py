"""Defines what a driver is: pure functions that probe, create, remove and survey one kind of resource."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from reconciler.apply.transport.command import Command, Operation, Result
from reconciler.plan.resources import Resource
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.names import Address, HostName

R = TypeVar("R", bound=Resource)
F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class SurveyTarget:
    """A host to survey, and its bridge."""

    host: HostName
    bridge: str


@dataclass(frozen=True, slots=True)
class Found:
    """A tagged object as the resource that its tag names. Attributes that could not be read are blank.

    The others are enough for `probe` and `remove`. `mark` distinguishes it from a later object of the same name.
    """

    resource: Resource
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Survey(Generic[R]):
    """How all tagged objects of one kind are found on a host, whether or not the state has them.

    `commands` are read-only. `thing` names a resource's object on its host (a TAP, a path): two objects may have one
    tag.
    """

    commands: tuple[Command, ...]
    parse: Callable[[SurveyTarget, Sequence[Result]], Iterable[Found]]
    thing: Callable[[R], str]


@dataclass(frozen=True, slots=True)
class Driver(Generic[R, F]):
    """The functions of one kind. F is the kind's fact: what exists of one resource on the host, and who owns it.

    `probe` returns read-only commands for many resources of one host; their number does not grow with the resources.
    `parse` turns their results into one fact for each resource.

    `ensure` returns the operations that create or correct the resource, starting from the fact (none if nothing has to
    be done); `before` is the resource in the state if an update changes one into another. `remove` deletes what is ours
    of it; if it is already gone, that is success. Both raise ForeignObject if an object in the way is not ours.

    `observed` returns the attributes as found, as plain values by name (only those that can be read back), or None if
    the resource does not exist. `survey` lists all tagged objects of the kind. `content` returns a function that makes
    the private file of a resource from its slice, or None if it has none; the state and the plan do not contain it.
    """

    noun: type[R]
    probe: Callable[[Sequence[R]], tuple[Command, ...]]
    parse: Callable[[Sequence[R], Sequence[Result]], Mapping[Address, F]]
    ensure: Callable[[R, F, R | None], tuple[Operation, ...]]
    remove: Callable[[R, F], tuple[Operation, ...]]
    observed: Callable[[R, F], Mapping[str, Any] | None]
    survey: Survey[R] | None = None
    content: Callable[[R, ExpandedSlice], Callable[[], bytes] | None] | None = None
