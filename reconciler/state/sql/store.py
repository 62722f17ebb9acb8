"""The store in SQL, on SQLite or PostgreSQL with the same queries; the rows' own modules say how each is kept.

Every call of `begin`, `intend`, `record` and `finish`, and of their like for orphans, raises the record's serial by
one, and marks with it what it changed: slices, what slices share, numbers. A plan is stale once any part that it was
made from bears a later serial.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, select, update

from reconciler.errors import StateError, StateUnreadable
from reconciler.plan.model import Plan, Step
from reconciler.plan.resources import Resource
from reconciler.plan.results import StepResult
from reconciler.plan.snapshot import Counters, ResourceState, StateSnapshot
from reconciler.spec.models.names import Address, HostName, LinkId, SliceId, SliceKey, VmId
from reconciler.state import history
from reconciler.state.location import default_place, to_url
from reconciler.state.locks import rows
from reconciler.state.locks.ttl import TTL, lease_ttl
from reconciler.state.sql import allocations, orphans, resources, schema
from reconciler.state.sql.codec import decode_allocation
from reconciler.state.sql.connection import reading, writing
from reconciler.state.sql.faults import RESTORE, decoding, mapped
from reconciler.state.sql.opening import name_of, open_engine
from reconciler.state.store import (
    ApplyId,
    HistoryEntry,
    Holder,
    JournalEntry,
    Life,
    Lock,
    OrphanId,
    SeenOrphan,
)

if TYPE_CHECKING:
    from reconciler.state.export import Export

__all__ = ["SqlStore", "default_place", "open_state", "open_store"]


def open_store(
    where: str | Path, *, cluster: str, clock: Callable[[], datetime], read_only: bool = False, ttl: timedelta = TTL
) -> SqlStore:
    """Open the record of a cluster, and make it where there is none.

    `where` is a path, `sqlite:///PATH`, or `postgresql://...`; `clock` tells the time with its zone. A store that is
    `read_only` refuses every write; where there is no record it makes none, and shows an empty one whose lineage is ""
    and whose serial is 0. A plan from there may begin as long as nothing else has. Raises StateUnreadable for a record
    that is damaged, of a newer schema, or of another cluster; StateError where it cannot be reached or made.
    """
    url = to_url(where)
    engine = open_engine(url, cluster, read_only=read_only)
    return SqlStore(engine, name_of(url), clock, read_only=read_only, ttl=ttl)


def open_state(cluster: str, where: str | None, *, read_only: bool = False) -> SqlStore:
    """Open a cluster's record as its users do: where they say or else at its default place, by this machine's clock."""
    return open_store(
        where or default_place(cluster),
        cluster=cluster,
        clock=lambda: datetime.now(UTC),
        read_only=read_only,
        ttl=lease_ttl(os.environ),
    )


class SqlStore:
    """A StateStore over one database. Threads may share it; each call is a transaction of its own."""

    def __init__(
        self,
        engine: Engine,
        place: str,
        clock: Callable[[], datetime],
        *,
        read_only: bool,
        ttl: timedelta,
        under: tuple[Lock, ...] = (),
    ) -> None:
        self._engine = engine
        self._place = place
        self._clock = clock
        self._read_only = read_only
        self._ttl = ttl
        self._under = under

    def read(self, scope: Collection[SliceKey] | None = None) -> StateSnapshot:
        """Return the record with the resources of the slices in scope (None: of all) and of what slices share."""
        with self._reading() as connection, decoding(self._place, "what it holds"):
            meta = self._meta(connection)
            documents = connection.execute(select(schema.allocations).order_by(schema.allocations.c.slice))
            return StateSnapshot(
                lineage=meta.lineage,
                serial=meta.serial,
                counters=_counters(meta),
                allocations={row.slice: decode_allocation(row.document) for row in documents},
                held=allocations.held(connection),
                resources=dict(resources.read(connection, scope)),
            )

    def history(self, limit: int = 20) -> tuple[HistoryEntry, ...]:
        """Return the latest applies, newest first."""
        with self._reading() as connection, decoding(self._place, "its history"):
            return history.latest(connection, limit)

    def journal(self, apply: ApplyId) -> tuple[JournalEntry, ...]:
        """Return the steps that an apply attempted, in the order of their intents."""
        with self._reading() as connection:
            return history.journal(connection, apply)

    def locks(self) -> tuple[Lock, ...]:
        """Return the locks that are held now, by name."""
        with self._reading() as connection:
            return rows.held(connection, self._ttl)

    def life(self, lock: Lock, onlooker: Holder) -> Life:
        """Guess, for people, whether a lock's holder still works."""
        with self._reading() as connection:
            return rows.life(connection, lock, onlooker, self._clock())

    @property
    def ttl(self) -> timedelta:
        """How long a lock that is not renewed still counts, measured by whoever waits for it."""
        return self._ttl

    @contextmanager
    def lock(self, names: Collection[str], holder: Holder, silent: Collection[Lock] = ()) -> Iterator[tuple[Lock, ...]]:
        """Hold all of these locks while the block runs, or none: raises StateLocked naming who holds one.

        Those in `silent` are taken over unless they have changed since.
        """
        with self._writing() as (connection, _):
            taken = rows.take(connection, names, holder, silent, self._clock(), self._ttl)
        try:
            yield taken
        except BaseException:
            with suppress(StateError):  # what went wrong first is told; a lock that is left is taken over
                self._release(taken)
            raise
        self._release(taken)

    def _release(self, taken: Collection[Lock]) -> None:
        with self._unguarded() as (connection, _):
            rows.release(connection, taken)

    def renew(self, taken: Collection[Lock]) -> None:
        """Show that the holder of these locks lives; raises StateLost, naming who, where another has one of them."""
        with self._writing() as (connection, _):
            rows.renew(connection, taken, self._clock(), self._ttl)

    def under(self, taken: Collection[Lock]) -> SqlStore:
        """Return this store as the holder of these locks has it: its writes are refused once one of them is lost."""
        guarded = copy(self)
        guarded._under = (*self._under, *taken)  # noqa: SLF001 - its own kind
        return guarded

    def outgrow(self, token: int) -> None:
        """Give out only tokens above this one from now on."""
        with self._writing() as (connection, meta):
            connection.execute(update(schema.meta).values(token=max(meta.token, token)))

    def force_unlock(self, name: str, token: int | None = None) -> Lock | None:
        """Take a lock away, whoever holds it, and return it; None where nobody does, or not under the token given."""
        with self._writing() as (connection, _):
            return rows.force(connection, name, token, self._ttl)

    def export(self) -> Export:
        """Return the whole record but its locks, as it is at one moment."""
        from reconciler.state import transfer  # noqa: PLC0415 - only who exports or imports needs its models

        with self._reading() as connection, decoding(self._place, "what it holds"):
            return transfer.read(connection, self._meta(connection))

    def check_import(self, export: Export) -> None:
        """Raise StateError where `import_state` would, but for locks; changes nothing."""
        from reconciler.state import transfer  # noqa: PLC0415 - as above

        with self._reading() as connection:
            transfer.check(self._meta(connection), export)

    def import_state(self, export: Export, holder: Holder, keep: Callable[[Export], object]) -> None:
        """Put an exported record in the place of this one, once `keep` has put away what was here.

        Raises StateError where this record is not empty and the exported one is of another lineage or older, or is of
        another cluster; StateLocked while anyone is changing anything.
        """
        from reconciler.state import transfer  # noqa: PLC0415 - as above

        with self._writing() as (connection, meta):
            transfer.check(meta, export)
            rows.refuse_held(connection, holder, self._ttl)
            if meta.serial:
                with decoding(self._place, "what it holds"):
                    before = transfer.read(connection, meta)
                keep(before)
            transfer.write(connection, meta, export)

    def forget(self, addresses: Collection[Address]) -> Mapping[Address, ResourceState]:
        """Remove resources from the record as if they were confirmed gone, and return how they stood.

        What nothing recorded uses any more becomes free, as `record` says. Hosts are not asked. The caller holds the
        locks of their slices, and the shared one for what slices share.
        """
        with self._writing() as (connection, meta), decoding(self._place, "what it holds"):
            found = resources.forget(connection, addresses)
            touched = _move(connection, meta, [entry.resource for entry in found.values()])
            _free(connection, meta, touched)
            return found

    def check_plan(self, plan: Plan) -> None:
        """Raise StateMoved where `begin` would; changes nothing."""
        with self._reading() as connection:
            allocations.check(connection, self._meta(connection), plan)

    def begin(self, plan: Plan, holder: Holder, digest: str) -> ApplyId:
        """Write a plan's allocations and counters, and open its apply; raises StateMoved for a stale plan.

        Raises StateError, and writes nothing, where two slices would have the same number.
        """
        with self._writing() as (connection, meta):
            allocations.check(connection, meta, plan)
            serial = meta.serial + 1
            apply = ApplyId(meta.applies + 1)
            moved = {"given_moved": serial} if allocations.give(connection, plan, serial) else {}
            resources.expect(connection, plan)
            history.open_apply(connection, apply, plan.slices, holder, self._clock(), digest)
            values = {"serial": serial, "applies": apply, **_grown(meta, plan.counters), **moved}
            connection.execute(update(schema.meta).values(values))
            return apply

    def intend(self, apply: ApplyId, steps: Sequence[Step]) -> None:
        """Write that these steps are about to be attempted: resources are creating, deleting, or pending."""
        with self._writing() as (connection, meta):
            history.intend(connection, apply, steps, self._clock())
            resources.intend(connection, steps)
            _move(connection, meta, [step.subject for step in steps])

    def record(self, apply: ApplyId, results: Sequence[StepResult]) -> None:
        """Write how steps ended, and with it how their resources stand; what nothing uses any more becomes free."""
        with self._writing() as (connection, meta):
            history.record(connection, apply, results, self._clock())
            resources.record(connection, results)
            touched = _move(connection, meta, [result.step.subject for result in results])
            _free(connection, meta, touched)

    def finish(self, apply: ApplyId, result: str, skipped: int) -> None:
        """Close an apply; claims of slices in its scope whose doomed resources are all gone become free."""
        with self._writing() as (connection, meta), decoding(self._place, "its history"):
            scope = history.finish(connection, apply, result, skipped, self._clock())
            _move(connection, meta, ())
            _free(connection, meta, scope)

    def take_turn(self, after: Callable[[int], int]) -> int:
        """Return the round-robin turn, and move it on to what `after` makes of it."""
        with self._writing() as (connection, meta):
            serial = meta.serial + 1
            connection.execute(update(schema.meta).values(turn=after(meta.turn), serial=serial, given_moved=serial))
            return int(meta.turn)

    def orphans(self) -> tuple[SeenOrphan, ...]:
        """Return what was seen on hosts that nobody records, by host and address."""
        with self._reading() as connection:
            return orphans.read(connection)

    def see_orphans(self, found: Collection[OrphanId], hosts: Collection[HostName]) -> None:
        """Count what was seen now on these hosts; what was seen there before, and is not now, is forgotten."""
        with self._writing() as (connection, _):
            orphans.see(connection, found, hosts, self._clock())

    def begin_removal(self, slices: Collection[SliceKey], holder: Holder, digest: str) -> ApplyId:
        """Open an apply that removes orphans, which bear the names of these slices; `finish` closes it."""
        with self._writing() as (connection, meta):
            apply = ApplyId(meta.applies + 1)
            history.open_apply(connection, apply, tuple(sorted(slices)), holder, self._clock(), digest)
            connection.execute(update(schema.meta).values(applies=apply))
            _move(connection, meta, ())
            return apply

    def intend_removal(self, apply: ApplyId, steps: Sequence[Step]) -> None:
        """Write that orphans are about to be removed; recorded resources stay as they are, whatever their address."""
        with self._writing() as (connection, meta):
            history.intend(connection, apply, steps, self._clock())
            _move(connection, meta, ())

    def record_removal(self, apply: ApplyId, results: Sequence[StepResult], gone: Collection[OrphanId]) -> None:
        """Write how removals ended, and forget the orphans that are gone."""
        with self._writing() as (connection, meta):
            history.record(connection, apply, results, self._clock())
            orphans.forget(connection, gone)
            _move(connection, meta, ())

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with mapped(self._place), reading(self._engine) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[tuple[Connection, Row[Any]]]:
        """Yield a connection that alone writes, and the record's `meta` row; raises StateLost as `under` says."""
        with self._unguarded() as (connection, meta):
            if self._under:
                rows.refuse_lost(connection, self._under)
            yield connection, meta

    @contextmanager
    def _unguarded(self) -> Iterator[tuple[Connection, Row[Any]]]:
        if self._read_only:
            raise StateError(f"the record {self._place} is open for reading only")
        with mapped(self._place), writing(self._engine) as connection:
            yield connection, self._meta(connection, alone=True)

    def _meta(self, connection: Connection, *, alone: bool = False) -> Row[Any]:
        query = select(schema.meta)
        row = connection.execute(query.with_for_update() if alone else query).one_or_none()
        if row is None:
            raise StateUnreadable(f"the record {self._place} is damaged: its first row is missing", hint=RESTORE)
        return row


def _counters(meta: Row[Any]) -> Counters:
    return Counters(SliceId(meta.slice_id), VmId(meta.vm_id), LinkId(meta.link_id), meta.turn)


def _grown(meta: Row[Any], counters: Counters) -> dict[str, int]:
    """Return the counters after a plan: they only grow, also where another plan came between that gave out more."""
    names = ("slice_id", "vm_id", "link_id", "turn")
    return {name: max(getattr(meta, name), getattr(counters, name)) for name in names}


def _move(connection: Connection, meta: Row[Any], changed: Sequence[Resource]) -> frozenset[SliceKey]:
    """Raise the serial, and mark whose resources changed; returns their slices."""
    serial = meta.serial + 1
    owners = {resource.slice for resource in changed}
    values = {"serial": serial, "shared_moved": serial} if None in owners else {"serial": serial}
    connection.execute(update(schema.meta).values(values))
    touched = frozenset(SliceKey(key) for key in owners if key is not None)
    allocations.touch(connection, touched, serial)
    return touched


def _free(connection: Connection, meta: Row[Any], keys: Collection[SliceKey]) -> None:
    """Free what these slices no longer use; one that leaves counts as numbers changed, at the serial just raised."""
    if allocations.free(connection, keys):
        connection.execute(update(schema.meta).values(given_moved=meta.serial + 1))
