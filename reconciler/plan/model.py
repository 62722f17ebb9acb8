"""Defines a plan: what changes and why, and the steps in the order in which they can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

from reconciler.plan.immutable import immutable
from reconciler.plan.renames import Rename
from reconciler.plan.resources import Resource
from reconciler.plan.snapshot import Counters, SliceAllocation
from reconciler.spec.models.fields import UpdatePolicy
from reconciler.spec.models.names import Address, HostName, SliceKey

StepId = NewType("StepId", int)
"""A step's number within its plan, counted from 1 in an order in which the steps can run one by one."""

FORMAT = 1
"""The version of a plan's JSON form. It is raised when a reader of the last version could misread the new one."""


class Action(StrEnum):
    """What a plan does to one resource. The values are part of the JSON form."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"


@immutable
class AttributeChange:
    """One attribute that differs: its plain values before and after, and the update policy of the change."""

    name: str
    before: Any
    after: Any
    policy: UpdatePolicy


DATA_LOST = "overlay missing: its data is gone; a new, empty disk is made"
"""The reason of a change that creates an empty disk because the old one, with its data, is missing."""

ASKED_FOR = "asked for"
"""The reason of a change that the user asked for by its address or its slice."""


@immutable
class Change:
    """What happens to one resource, and why. `before` is None for a creation, `after` for a deletion.

    `data_lost` says that what a guest has written is gone afterwards. `leftover` is what an unfinished move left on
    another host than `before`, and is deleted first.
    """

    action: Action
    address: Address
    before: Resource | None
    after: Resource | None
    reason: str
    attributes: tuple[AttributeChange, ...] = ()
    data_lost: bool = False
    leftover: Resource | None = None

    @property
    def subject(self) -> Resource:
        """The resource as it will be, or as it was where it goes."""
        found = self.after or self.before
        assert found is not None, "a change has at least one side"  # noqa: S101 - an invariant of construction
        return found

    @property
    def in_place(self) -> bool:
        """Whether the resource stays and is updated."""
        return self.action is Action.UPDATE

    @property
    def moves(self) -> bool:
        """Whether the resource is copied to another host with its content, and then deleted where it was."""
        return self.in_place and self.before is not None and self.before.host != self.subject.host

    @property
    def renames(self) -> bool:
        """Whether the objects of a renamed resource get its new address as their tag."""
        return self.in_place and self.before is not None and bool(self.before.formerly)

    @property
    def restarts(self) -> bool:
        """Whether an update in place restarts what it changes."""
        return self.in_place and any(item.policy is UpdatePolicy.RESTART for item in self.attributes)

    def touches(self, name: str) -> bool:
        """Whether an attribute changes."""
        return any(item.name == name for item in self.attributes)

    @property
    def name(self) -> str:
        """The address without its kind. A VM and its disk have the same name."""
        return self.address.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A VM that the plan does not change, but one of whose links goes down or whose base image is restored."""

    address: Address
    slice: SliceKey
    reason: str


@immutable
class Step:
    """One task on one host: create, update or delete. A replacement is two steps. `needs` are the steps before it.

    A move is two steps too: an update, on the new host, whose `before` is on the old one, and a deletion there.
    """

    id: StepId
    action: Action
    address: Address
    host: HostName
    before: Resource | None
    after: Resource | None
    needs: tuple[StepId, ...] = ()

    @property
    def subject(self) -> Resource:
        """The resource the step is about."""
        found = self.after or self.before
        assert found is not None, "a step has at least one side"  # noqa: S101 - an invariant of construction
        return found

    @property
    def source(self) -> HostName | None:
        """The host that the step copies the resource from; None where it copies nothing."""
        moved = self.action is Action.UPDATE and self.before is not None and self.before.host != self.host
        return self.before.host if moved and self.before is not None else None

    @property
    def moves(self) -> bool:
        """Whether the step copies the resource from another host."""
        return self.source is not None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many changes of each sort a plan makes. Replacements, restarts, lost data and renames are counted apart."""

    add: int = 0
    change: int = 0
    replace: int = 0
    destroy: int = 0
    restarts: int = 0
    interrupted: int = 0
    lost: int = 0
    renamed: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that an apply needs.

    `slices` are those in scope. `allocations` are their numbers after the apply (a destroyed slice has none), and
    `counters` are the counters of the state after it. `renames` are the first that the apply writes into the state.
    `inputs` maps each file to its digest. `restart_pending` are VMs that go on as an earlier version started them, and
    change at their next start; the plan does not start them.
    """

    tool: str
    lineage: str
    serial: int
    slices: tuple[SliceKey, ...]
    changes: tuple[Change, ...]
    steps: tuple[Step, ...]
    counts: Counts
    counters: Counters
    allocations: Mapping[SliceKey, SliceAllocation]
    disturbed: tuple[Disturbance, ...] = ()
    renames: tuple[Rename, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT
    restart_pending: tuple[Address, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.steps

    @property
    def data_lost(self) -> tuple[Change, ...]:
        """The changes after which what a guest has written is gone."""
        return tuple(change for change in self.changes if change.data_lost)
