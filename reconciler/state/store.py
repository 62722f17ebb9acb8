"""The seam to the record: what planners may read, and what an apply writes; sql.py keeps it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, NewType, Protocol

from reconciler.plan.model import Plan, Step
from reconciler.plan.results import StepResult
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.models.names import Address, HostName, SliceKey

ApplyId = NewType("ApplyId", int)
"""Counts the applies of one record from 1."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock: a person, on a host, in a process."""

    user: str
    host: str
    pid: int

    def __str__(self) -> str:
        """Write it as it stands in sentences."""
        return f"{self.user} on host {self.host} (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that is held. `token` only grows: it fences off, in the record and on hosts, who has lost the lock.

    `since` and `alive`, the last sign of life, are UTC by the holder's own clock, for people to read: nothing is
    decided by what they say, only by whether `alive` has changed, as each renewal changes it.
    """

    name: str
    holder: Holder
    since: datetime
    token: int
    alive: datetime


class Life(StrEnum):
    """Whether a lock's holder seems to work still; a guess for people."""

    ALIVE = "alive"
    SILENT = "silent"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One apply, as history tells it; times are UTC, `finished` is None while it runs or where it never ended."""

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


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One attempted step: when it was intended, and its result; `status` is None while no result is written."""

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
    """An orphan as it was seen; `fingerprint` tells it from a later thing with the same address."""

    host: HostName
    address: Address
    fingerprint: str


@dataclass(frozen=True, slots=True)
class SeenOrphan:
    """An orphan that was seen `count` times, at first then; UTC."""

    orphan: OrphanId
    first: datetime
    count: int


class StateReader(Protocol):
    """The half of the store that planners and viewers get."""

    def read(self, scope: Collection[SliceKey] | None = None) -> StateSnapshot:
        """Return the record with the resources of the slices in scope (None: of all) and of what slices share.

        Raises StateUnreadable where the record is damaged, of a newer schema, or of another lineage.
        """
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
        """Return what was seen on hosts that nobody records, by host and address."""
        ...

    def check_plan(self, plan: Plan) -> None:
        """Raise StateMoved where `begin` would; changes nothing."""
        ...


class StateStore(StateReader, Protocol):
    """The whole store. Each call is one transaction that survives a crash once it has returned."""

    @property
    def ttl(self) -> timedelta:
        """How long a lock that is not renewed still counts, measured by whoever waits for it; one for all clients."""
        ...

    def lock(
        self, names: Collection[str], holder: Holder, silent: Collection[Lock] = ()
    ) -> AbstractContextManager[tuple[Lock, ...]]:
        """Hold all of these locks, or none: raises StateLocked naming holder, host, since and last sign of life.

        A lock whose holder's process is gone from this same host is taken over; so is one that is still exactly as in
        `silent`: the caller has seen it unchanged for the time to live. leases.py waits, watches and renews.
        """
        ...

    def renew(self, taken: Collection[Lock]) -> None:
        """Show that the holder of these locks lives; raises StateLost, naming who, where another has one of them."""
        ...

    def under(self, taken: Collection[Lock]) -> StateStore:
        """Return this store as the holder of these locks has it.

        Every write there but the release of locks raises StateLost, and writes nothing, once one of them is lost: it is
        looked at in the same transaction.
        """
        ...

    def outgrow(self, token: int) -> None:
        """Give out only tokens above this one from now on."""
        ...

    def begin(self, plan: Plan, holder: Holder, digest: str) -> ApplyId:
        """Write a plan's allocations and counters, and open its apply.

        From here on, what the slices had and what they will have are both taken, until what goes is confirmed gone.
        Raises StateMoved when the lineage is not the plan's, or when what the plan was made from has changed since its
        serial: a slice in its scope, what slices share, or, where it gives out numbers, the numbers of any slice.
        Raises StateError where two slices would have the same number.
        """
        ...

    def intend(self, apply: ApplyId, steps: Sequence[Step]) -> None:
        """Write that these steps are about to be attempted: resources are creating, deleting, or pending."""
        ...

    def record(self, apply: ApplyId, results: Sequence[StepResult]) -> None:
        """Write how steps ended, and with it how their resources stand.

        Once all that stood when the apply began, and was to change or go, has done so, what it used becomes free; a
        destroyed slice leaves the record with its last resource. So a crash after this call leaks no number.
        """
        ...

    def finish(self, apply: ApplyId, result: str, skipped: int) -> None:
        """Close an apply, and free what `record` would: a plan without steps gives back its slices' numbers here."""
        ...

    def take_turn(self, after: Callable[[int], int]) -> int:
        """Return the round-robin turn, and move it on to the larger one that `after` makes of it.

        A plan that was made before, and gives out numbers, is stale then.
        """
        ...

    def see_orphans(self, found: Collection[OrphanId], hosts: Collection[HostName]) -> None:
        """Count what was seen now on these hosts; what was seen there before, and is not now, is forgotten."""
        ...

    def begin_removal(self, slices: Collection[SliceKey], holder: Holder, digest: str) -> ApplyId:
        """Open an apply that removes orphans, which bear the names of these slices; `finish` closes it."""
        ...

    def intend_removal(self, apply: ApplyId, steps: Sequence[Step]) -> None:
        """Write that orphans are about to be removed; recorded resources stay as they are, whatever their address."""
        ...

    def record_removal(self, apply: ApplyId, results: Sequence[StepResult], gone: Collection[OrphanId]) -> None:
        """Write how removals ended, and forget the orphans that are gone."""
        ...

    def close(self) -> None:
        """Release the database."""
        ...
