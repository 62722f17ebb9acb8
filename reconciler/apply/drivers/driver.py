"""What a driver is: how one kind of resource is read on a host, made, and removed; pure functions, no connection."""

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
    """A host to be surveyed, and its bridge."""

    host: HostName
    bridge: str


@dataclass(frozen=True, slots=True)
class Found:
    """A thing that bears our tag, as the resource that it is a trace of; what could not be read of it is left blank.

    What is there suffices for `probe` and `remove`. `mark` tells it from a later thing of the same name.
    """

    resource: Resource
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Survey(Generic[R]):
    """How all of one kind that bears our tag is found on a host, whether or not anybody knows of it.

    `commands` are read-only. `thing` names what a resource is on its host (a TAP, a path): two things may bear one tag.
    """

    commands: tuple[Command, ...]
    parse: Callable[[SurveyTarget, Sequence[Result]], Iterable[Found]]
    thing: Callable[[R], str]


@dataclass(frozen=True, slots=True)
class Driver(Generic[R, F]):
    """One kind's functions. F is the kind's fact: what of one resource stands on the host, and whose it is.

    `probe` returns read-only commands for many resources of one host at once: their number does not grow with the
    resources. `parse` turns their results into one fact for each resource. `ensure` brings the resource about from
    whatever the fact says (level-based: nothing to do gives no operations); `before` is the recorded resource where an
    update goes from one to another. `remove` takes away what is ours of it; what is gone already is success. Both raise
    ForeignObject where something in the way is not ours. `observed` returns the attributes as they stand, as plain
    values by name (only those that can be read back), or None where the resource is absent. `survey` finds what nobody
    asks for. `content` returns a function that makes the private file of a resource from its slice, or None where it
    has none; the state and the plan do not contain that file.
    """

    noun: type[R]
    probe: Callable[[Sequence[R]], tuple[Command, ...]]
    parse: Callable[[Sequence[R], Sequence[Result]], Mapping[Address, F]]
    ensure: Callable[[R, F, R | None], tuple[Operation, ...]]
    remove: Callable[[R, F], tuple[Operation, ...]]
    observed: Callable[[R, F], Mapping[str, Any] | None]
    survey: Survey[R] | None = None
    content: Callable[[R, ExpandedSlice], Callable[[], bytes] | None] | None = None
