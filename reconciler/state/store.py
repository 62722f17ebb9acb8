"""Defines the interface of the state: what planners read, and what an apply writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, NewType, Protocol

from reconciler.plan.model import Plan, Step
from reconciler.plan.results import StepResult
from reconciler.plan.snapshot import Cordon, ResourceState, StateSnapshot
from reconciler.spec.models.names import Address, HostName, SliceKey

ApplyId = NewType("ApplyId", int)
"""The number of an apply; it counts from 1 in each state."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a lock: a user, a host and a process."""

    user: str
    host: str
    pid: int

    def __str__(self) -> str:
        """Format it for messages."""
        return f"{self.user} on host {self.host} (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that is held. `token` is its fencing token: it only grows, so state and hosts refuse a former holder.

    `since` and `alive`, the last renewal, are UTC by the holder's own clock, for people to read. Nothing depends on
    their values; what counts is whether `alive` has changed, because each renewal changes it.
    """

    name: str
    holder: Holder
    since: datetime
    token: int
    alive: datetime


class Life(StrEnum):
    """Whether a lock's holder still seems to work; an estimate for people."""

    ALIVE = "alive"
    SILENT = "silent"
    ENDED = "ended"


class Verb(StrEnum):
    """What began an apply of the history."""

    APPLY = "apply"
    DESTROY = "destroy"
    EVACUATE = "evacuate"
    GC = "gc"
    REBUILD = "rebuild"
    REPLACE_HOST = "replace-host"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One apply in the history; times are UTC, `finished` is None while it runs or where it was killed."""

    id: ApplyId
    slices: tuple[SliceKey, ...]
    holder: Holder
    started: datetime
    finished: datetime | None
    result: str
    digest: str
    done: int
    failed: int
    skipped: int
    verb: Verb = Verb.APPLY


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One step: when it was intended, and its result; `status` is None while no result is written.

    A step that failed before it was attempted was intended when it failed.
    """

    apply: ApplyId
    step: int
    action: str
    address: str
    host: str
    intended: datetime
    finished: datetime | None
    status: str | None
    message: str


class OrphanId(NamedTuple):
    """Identifies an orphan; `fingerprint` distinguishes it from a later object with the same address."""

    host: HostName
    address: Address
    fingerprint: str


@dataclass(frozen=True, slots=True)
class SeenOrphan:
    """An orphan that `count` runs have seen, first at the time `first`; UTC."""

    orphan: OrphanId
    first: datetime
    count: int


@dataclass(frozen=True, slots=True)
class StateMarks:
    """What tells whether the state of a slice is as it was: `moved` is the serial at which each slice last changed.

    `latest` is the latest apply with its start, UTC. `started` is the start of the apply that was asked for, None if
    this state never had it.
    """

    lineage: str
    serial: int
    moved: Mapping[SliceKey, int]
    latest: tuple[ApplyId, datetime] | None = None
    started: datetime | None = None


class StateReader(Protocol):
    """The part of the state that planners and read-only verbs use."""

    def read(self, scope: Collection[SliceKey] | None = None) -> StateSnapshot:
        """Return the state with the resources of the slices in scope (None: of all) and of what slices share.

        Raises StateUnreadable where the state is damaged, of a newer schema, or of another lineage.
        """
        ...

    def marks(self, scope: Collection[SliceKey], apply: ApplyId) -> StateMarks:
        """Return the marks of those of these slices that the state has, and the start of an apply."""
        ...

    def history(self, limit: int = 20) -> tuple[HistoryEntry, ...]:
        """Return the latest applies, newest first."""
        ...

    def journal(self, apply: ApplyId) -> tuple[JournalEntry, ...]:
        """Return the steps that an apply attempted, in the order of their intents."""
        ...

    def locks(self) -> tuple[Lock, ...]:
        """Return the locks that are held now, by name."""
        ...

    def orphans(self) -> tuple[SeenOrphan, ...]:
        """Return the orphans that were seen on hosts, by host and address."""
        ...

    def cordons(self) -> Mapping[HostName, Cordon]:
        """Return the hosts that take no new VMs, by name."""
        ...

    def life(self, lock: Lock, observer: Holder) -> Life:
        """Estimate, for people, whether a lock's holder still works."""
        ...

    def check_plan(self, plan: Plan) -> None:
        """Raise StateMoved where `begin` would; changes nothing."""
        ...

    def close(self) -> None:
        """Release the database."""
        ...


class StateStore(StateReader, Protocol):
    """The whole state. Each call is one transaction that survives a crash once it has returned."""

    @property
    def ttl(self) -> timedelta:
        """How long a lock that is not renewed stays valid, by the clock of the process that waits for it."""
        ...

    def lock(
        self, names: Collection[str], holder: Holder, silent: Collection[Lock] = ()
    ) -> AbstractContextManager[tuple[Lock, ...]]:
        """Hold all of these locks, or none: raises StateLocked naming holder, host, since and last renewal.

        A lock whose holder's process has ended on this host is taken over; so is one that is unchanged from `silent`:
        the caller has seen it unchanged for its time to live. leases.py waits, watches and renews.
        """
        ...

    def renew(self, taken: Collection[Lock]) -> None:
        """Show that the holder of these locks is alive; raises StateLost, naming the new holder, where one is lost."""
        ...

    def under(self, taken: Collection[Lock]) -> StateStore:
        """Return this store for the holder of these locks.

        Once one of them is lost, every write except the release of locks raises StateLost and writes nothing; the
        check is in the same transaction.
        """
        ...

    def outgrow(self, token: int) -> None:
        """Give out only tokens above this one from now on."""
        ...

    def forget(self, addresses: Collection[Address]) -> Mapping[Address, ResourceState]:
        """Remove resources from the state as if they were confirmed gone, and return what it said of them.

        What no resource in the state uses any more becomes free, as `record` says. The caller holds the locks of their
        slices, and the shared lock for what slices share.
        """
        ...

    def begin(self, plan: Plan, holder: Holder, digest: str, verb: Verb = Verb.APPLY) -> ApplyId:
        """Write a plan's allocations and counters, and open its apply.

        From then on, the numbers that the slices had and those that they get are both taken, until what uses the old
        ones is confirmed gone. Raises StateMoved where the lineage is not the plan's, or where what the plan was made
        from has changed since its serial: a slice in its scope, what slices share, or, if it gives out numbers, the
        numbers of any slice. Raises StateError where two slices would have the same number.
        """
        ...

    def intend(self, apply: ApplyId, steps: Sequence[Step]) -> None:
        """Write that these steps are about to be attempted: resources are creating, deleting, or pending."""
        ...

    def record(self, apply: ApplyId, results: Sequence[StepResult]) -> None:
        """Write the results of steps, and the status of their resources.

        Once everything that the apply was to change or delete is done, the numbers that it used become free; a
        destroyed slice leaves the state with its last resource. So a crash after this call leaks no number.
        """
        ...

    def finish(self, apply: ApplyId, result: str, skipped: int) -> None:
        """Close an apply, and free what `record` would: a plan without steps frees its slices' numbers here."""
        ...

    def take_turn(self, after: Callable[[int], int]) -> int:
        """Return the round-robin turn, and set it to the larger one that `after` returns for it.

        A plan that was made before and gives out numbers is stale then.
        """
        ...

    def cordon(self, host: HostName, user: str) -> Cordon:
        """Let a host take no new VMs, and return its cordon; one that it has already stays as it is.

        A plan that was made before and gives out numbers is stale then.
        """
        ...

    def uncordon(self, host: HostName) -> Cordon | None:
        """Let a host take new VMs again, and return the cordon that it had."""
        ...

    def see_orphans(self, found: Collection[OrphanId], hosts: Collection[HostName]) -> None:
        """Count the orphans that were found on these hosts, and forget those that are no longer there."""
        ...

    def begin_removal(self, slices: Collection[SliceKey], holder: Holder, digest: str) -> ApplyId:
        """Open an apply that deletes orphans of these slices; `finish` closes it."""
        ...

    def intend_removal(self, apply: ApplyId, steps: Sequence[Step]) -> None:
        """Write that orphans are about to be deleted; resources in the state do not change, whatever their address."""
        ...

    def record_removal(self, apply: ApplyId, results: Sequence[StepResult], gone: Collection[OrphanId]) -> None:
        """Write the results of deletions, and forget the orphans that are gone."""
        ...
