"""A plan: what changes and why, and the steps in their order; frozen data that render/ shows and apply performs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

from reconciler.plan.resources import Resource
from reconciler.plan.snapshot import Counters, SliceAllocation
from reconciler.spec.models.fields import UpdatePolicy
from reconciler.spec.models.names import Address, HostName, SliceKey

StepId = NewType("StepId", int)
"""A step's number within its plan, from 1, in an order that could be followed one by one."""

FORMAT = 1
"""The version of a plan's JSON form; raised when a reader of the last version could misread the new one."""


class Action(StrEnum):
    """What a plan does to one resource; the value is what the JSON form says."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class AttributeChange:
    """One attribute that differs: plain values before and after, and what the change costs."""

    name: str
    before: Any
    after: Any
    policy: UpdatePolicy


DATA_LOST = "overlay missing: its data is gone; a new, empty disk is made"
"""The reason of the one change that cannot bring back what was there."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one resource, and why. `before` is None for a creation, `after` for a deletion."""

    action: Action
    address: Address
    before: Resource | None
    after: Resource | None
    reason: str
    attributes: tuple[AttributeChange, ...] = ()

    @property
    def subject(self) -> Resource:
        """The resource as it will be, or as it was where it goes."""
        found = self.after or self.before
        assert found is not None, "a change has at least one side"  # noqa: S101 - an invariant of construction
        return found

    @property
    def restarts(self) -> bool:
        """Whether an update in place restarts what it changes."""
        policies = {change.policy for change in self.attributes}
        return self.action is Action.UPDATE and UpdatePolicy.RESTART in policies

    @property
    def loses_data(self) -> bool:
        """Whether a new, empty disk takes the place of one that went missing with a guest's data."""
        return self.action is Action.CREATE and self.reason == DATA_LOST


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A VM that stays as it is while a link of it goes down, or its base image is put right under it."""

    address: Address
    slice: SliceKey
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do on one host: create, update or delete; a replacement is two. `needs` are steps before it."""

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


@dataclass(frozen=True, slots=True)
class Counts:
    """What a plan amounts to, replacements, restarts and disks with lost data apart."""

    add: int = 0
    change: int = 0
    replace: int = 0
    destroy: int = 0
    restarts: int = 0
    interrupted: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an apply needs to know.

    `slices` are those in scope; `allocations` is what they will have been given once all is done (a destroyed slice has
    none), `counters` the record's counters after that. `inputs` maps each file to its SHA-256.
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
    inputs: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.steps

    @property
    def data_lost(self) -> tuple[Change, ...]:
        """The changes that make a new, empty disk where one with a guest's data went missing."""
        return tuple(change for change in self.changes if change.loses_data)
