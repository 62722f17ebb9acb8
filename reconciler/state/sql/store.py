"""Stores the state in SQL, on SQLite or PostgreSQL with the same queries.

Every call of `begin`, `intend`, `record` and `finish`, and of their counterparts for orphans, raises the state's serial
by one, and marks with it what it changed: slices, what slices share, numbers. A plan is stale once any part that it was
made from has a later serial.
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
from reconciler.plan.snapshot import Cordon, Counters, ResourceState, StateSnapshot
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, HostName, SliceKey
from reconciler.state import rows
from reconciler.state.codec import decode_allocation
from reconciler.state.faults import RESTORE, decoding
from reconciler.state.location import place_of
from reconciler.state.locks.ttl import TTL, lease_ttl
from reconciler.state.sql import allocations, cordons, history, locks, orphans, renames, resources, schema
from reconciler.state.sql.connection import reading, writing
from reconciler.state.sql.faults import mapped
from reconciler.state.sql.opening import open_engine
from reconciler.state.sql.url import name_of, place_name, to_url
from reconciler.state.store import (
    ApplyId,
    HistoryEntry,
    Holder,
    JournalEntry,
    Life,
    Lock,
    OrphanId,
    SeenOrphan,
    StateMarks,
    Verb,
)

if TYPE_CHECKING:
    from reconciler.state.export import Export


def open_store(
    where: str | Path, *, cluster: str, clock: Callable[[], datetime], read_only: bool = False, ttl: timedelta = TTL
) -> SqlStore:
    """Open the state of a cluster, and create it where there is none.

    `where` is a path, `sqlite:///PATH`, or `postgresql://...`; `clock` returns the time with its zone. A store that is
    `read_only` refuses every write; where there is no state it creates none, and reads as an empty one whose lineage is
    "" and whose serial is 0. A plan made from that may begin as long as no other has. Raises StateUnreadable for a
    state that is damaged, of a newer schema, or of another cluster; StateError where it cannot be reached or created.
    """
    url = to_url(where)
    engine = open_engine(url, cluster, read_only=read_only)
    return SqlStore(engine, name_of(url), clock, read_only=read_only, ttl=ttl)


def open_state(cluster: Cluster, where: str | None, *, read_only: bool = False) -> SqlStore:
    """Open a cluster's state at `where`, or at its default place, with this machine's clock."""
    return open_store(
        place_of(cluster, where),
        cluster=cluster.name,
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
        """Return the state with the resources of the slices in scope (None: of all) and of what slices share."""
        with self._reading() as connection, decoding(self._place, "what it holds"):
            meta = self._meta(connection)
            documents = connection.execute(select(schema.allocations).order_by(schema.allocations.c.slice))
            return StateSnapshot(
                lineage=meta.lineage,
                serial=meta.serial,
                counters=rows.counters(meta),
                allocations={row.slice: decode_allocation(row.document) for row in documents},
                held=allocations.held(connection),
                resources=dict(resources.read(connection, scope)),
                cordoned=cordons.read(connection),
            )

    def marks(self, scope: Collection[SliceKey], apply: ApplyId) -> StateMarks:
        """Return the marks of those of these slices that the state has, and the start of an apply."""
        with self._reading() as connection, decoding(self._place, "its history"):
            meta = self._meta(connection)
            starts = history.starts(connection, (apply, meta.applies))
            return rows.marks(meta, starts, allocations.moved(connection, scope), apply)

    def history(self, limit: int = 20) -> tuple[HistoryEntry, ...]:
        """Return the latest applies, newest first."""
        with self._reading() as connection, decoding(self._place, "its history"):
            return history.latest(connection, limit)

    def journal(self, apply: ApplyId) -> tuple[JournalEntry, ...]:
        """Return the steps that an apply attempted, in the order of their intents."""
        with self._reading() as connection, decoding(self._place, "its journal"):
            return history.journal(connection, apply)

    def locks(self) -> tuple[Lock, ...]:
        """Return the locks that are held now, by name."""
        with self._reading() as connection:
            return locks.held(connection, self._ttl)

    def life(self, lock: Lock, observer: Holder) -> Life:
        """Estimate, for people, whether a lock's holder still works."""
        with self._reading() as connection:
            return rows.life(locks.find(connection, lock.token), observer, self._clock())

    @property
    def place(self) -> str:
        """The file or the URL of the state, without a password, as a user may write it."""
        return place_name(self._engine.url)

    @property
    def ttl(self) -> timedelta:
        """How long a lock that is not renewed stays valid, measured by the process that waits for it."""
        return self._ttl

    @contextmanager
    def lock(self, names: Collection[str], holder: Holder, silent: Collection[Lock] = ()) -> Iterator[tuple[Lock, ...]]:
        """Hold all of these locks while the block runs, or none: raises StateLocked naming who holds one.

        Those in `silent` are taken over unless they have changed since.
        """
        with self._writing() as (connection, _):
            taken = locks.take(connection, names, holder, silent, self._clock(), self._ttl)
        try:
            yield taken
        except BaseException:
            with suppress(StateError):  # the first error is reported; a lock that is left expires
                self._release(taken)
            raise
        self._release(taken)

    def _release(self, taken: Collection[Lock]) -> None:
        with self._unguarded() as (connection, _):
            locks.release(connection, taken)

    def renew(self, taken: Collection[Lock]) -> None:
        """Show that the holder of these locks is alive; raises StateLost, naming the new holder, where one is lost."""
        with self._writing() as (connection, _):
            locks.renew(connection, taken, self._clock(), self._ttl)

    def under(self, taken: Collection[Lock]) -> SqlStore:
        """Return this store for the holder of these locks: its writes are refused once one of them is lost."""
        guarded = copy(self)
        guarded._under = (*self._under, *taken)  # noqa: SLF001 - an object of this class
        return guarded

    def outgrow(self, token: int) -> None:
        """Give out only tokens above this one from now on."""
        with self._writing() as (connection, meta):
            connection.execute(update(schema.meta).values(token=max(meta.token, token)))

    def force_unlock(self, name: str, token: int | None = None) -> Lock | None:
        """Delete a lock and return it; None where it is not held, or not under the token given."""
        with self._writing() as (connection, _):
            return locks.force(connection, name, token, self._ttl)

    def export(self) -> Export:
        """Return the whole state except its locks, as one consistent snapshot."""
        from reconciler.state.sql import transfer  # noqa: PLC0415 - only exports and imports need its models

        with self._reading() as connection, decoding(self._place, "what it holds"):
            return transfer.read(connection, self._meta(connection))

    def check_import(self, export: Export) -> None:
        """Raise StateError where `import_state` would, except for locks; changes nothing."""
        from reconciler.state.sql import transfer  # noqa: PLC0415 - as above

        with self._reading() as connection:
            transfer.check(self._meta(connection), export)

    def import_state(
        self, export: Export, holder: Holder, keep: Callable[[Export], object], *, older: bool = False
    ) -> None:
        """Replace this state by an exported one, after `keep` has saved what was here.

        Raises StateError where the exported state is of another cluster, or where this state is not empty and the
        exported one is older (unless that is asked for) or of another lineage; StateLocked while any lock is held.
        """
        from reconciler.state.sql import transfer  # noqa: PLC0415 - as above

        with self._writing() as (connection, meta):
            transfer.check(meta, export, older=older)
            locks.refuse_held(connection, holder, self._ttl)
            if meta.serial:
                with decoding(self._place, "what it holds"):
                    before = transfer.read(connection, meta)
                keep(before)
            transfer.write(connection, meta, export)

    def forget(self, addresses: Collection[Address]) -> Mapping[Address, ResourceState]:
        """Remove resources from the state as if they were confirmed gone, and return what it said of them.

        What no resource in the state uses any more becomes free, as `record` says. No host is contacted. The caller
        holds the locks of their slices, and the shared lock for what slices share.
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

    def begin(self, plan: Plan, holder: Holder, digest: str, verb: Verb = Verb.APPLY) -> ApplyId:
        """Write a plan's allocations and counters, and open its apply; raises StateMoved for a stale plan.

        Raises StateError, and writes nothing, where two slices would have the same number.
        """
        with self._writing() as (connection, meta):
            allocations.check(connection, meta, plan)
            serial = meta.serial + 1
            apply = ApplyId(meta.applies + 1)
            with decoding(self._place, "what it holds"):
                for change in plan.renames:
                    renames.rename(connection, change)
            given = allocations.give(connection, plan, serial) or plan.renames
            moved = {"given_moved": serial} if given else {}
            resources.expect(connection, plan)
            history.open_apply(connection, apply, plan.slices, holder, self._clock(), digest, verb)
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
        """Write the results of steps and the status of their resources; what nothing uses any more becomes free."""
        with self._writing() as (connection, meta):
            history.record(connection, apply, results, self._clock())
            resources.record(connection, results)
            touched = _move(connection, meta, [result.step.subject for result in results])
            _free(connection, meta, touched)

    def finish(self, apply: ApplyId, result: str, skipped: int) -> None:
        """Close an apply; a slice in its scope with nothing left to delete frees the claims that it held."""
        with self._writing() as (connection, meta), decoding(self._place, "its history"):
            scope = history.finish(connection, apply, result, skipped, self._clock())
            _move(connection, meta, ())
            _free(connection, meta, scope)

    def take_turn(self, after: Callable[[int], int]) -> int:
        """Return the round-robin turn, and set it to what `after` returns for it."""
        with self._writing() as (connection, meta):
            connection.execute(update(schema.meta).values(turn=after(meta.turn)))
            _renumber(connection, meta)
            return int(meta.turn)

    def cordons(self) -> Mapping[HostName, Cordon]:
        """Return the hosts that take no new VMs, by name."""
        with self._reading() as connection:
            return cordons.read(connection)

    def cordon(self, host: HostName, user: str) -> Cordon:
        """Let a host take no new VMs, and return its cordon; one that it has already stays as it is."""
        with self._writing() as (connection, meta):
            if before := cordons.read(connection).get(host):
                return before
            _renumber(connection, meta)
            return cordons.add(connection, host, user, self._clock())

    def uncordon(self, host: HostName) -> Cordon | None:
        """Let a host take new VMs again, and return the cordon that it had."""
        with self._writing() as (connection, meta):
            before = cordons.read(connection).get(host)
            if before is not None:
                _renumber(connection, meta)
                cordons.remove(connection, host)
            return before

    def orphans(self) -> tuple[SeenOrphan, ...]:
        """Return the orphans that were seen on hosts, by host and address."""
        with self._reading() as connection:
            return orphans.read(connection)

    def see_orphans(self, found: Collection[OrphanId], hosts: Collection[HostName]) -> None:
        """Count the orphans that were found on these hosts, and forget those that are no longer there."""
        with self._writing() as (connection, _):
            orphans.see(connection, found, hosts, self._clock())

    def begin_removal(self, slices: Collection[SliceKey], holder: Holder, digest: str) -> ApplyId:
        """Open an apply that deletes orphans of these slices; `finish` closes it."""
        with self._writing() as (connection, meta):
            apply = ApplyId(meta.applies + 1)
            history.open_apply(connection, apply, tuple(sorted(slices)), holder, self._clock(), digest, Verb.GC)
            connection.execute(update(schema.meta).values(applies=apply))
            _move(connection, meta, ())
            return apply

    def intend_removal(self, apply: ApplyId, steps: Sequence[Step]) -> None:
        """Write that orphans are about to be deleted; resources in the state do not change, whatever their address."""
        with self._writing() as (connection, meta):
            history.intend(connection, apply, steps, self._clock())
            _move(connection, meta, ())

    def record_removal(self, apply: ApplyId, results: Sequence[StepResult], gone: Collection[OrphanId]) -> None:
        """Write the results of deletions, and forget the orphans that are gone."""
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
        """Yield a connection that excludes other writers, and the `meta` row; raises StateLost as `under` says."""
        with self._unguarded() as (connection, meta):
            if self._under:
                locks.refuse_lost(connection, self._under)
            yield connection, meta

    @contextmanager
    def _unguarded(self) -> Iterator[tuple[Connection, Row[Any]]]:
        if self._read_only:
            raise StateError(f"the state {self._place} is open for reading only")
        with mapped(self._place), writing(self._engine) as connection:
            yield connection, self._meta(connection, alone=True)

    def _meta(self, connection: Connection, *, alone: bool = False) -> Row[Any]:
        query = select(schema.meta)
        row = connection.execute(query.with_for_update() if alone else query).one_or_none()
        if row is None:
            raise StateUnreadable(f"the state {self._place} is damaged: its first row is missing", hint=RESTORE)
        return row


def _renumber(connection: Connection, meta: Row[Any]) -> None:
    """Raise the serial, and make plans stale that give out numbers."""
    serial = meta.serial + 1
    connection.execute(update(schema.meta).values(serial=serial, given_moved=serial))


def _grown(meta: Row[Any], counters: Counters) -> dict[str, int]:
    """Return the counters after a plan: they only grow, even if another plan gave out more meanwhile."""
    names = ("slice_id", "vm_id", "link_id", "turn")
    return {name: max(getattr(meta, name), getattr(counters, name)) for name in names}


def _move(connection: Connection, meta: Row[Any], changed: Sequence[Resource]) -> frozenset[SliceKey]:
    """Raise the serial, mark the slices whose resources changed, and return them."""
    serial = meta.serial + 1
    owners = {resource.slice for resource in changed}
    values = {"serial": serial, "shared_moved": serial} if None in owners else {"serial": serial}
    connection.execute(update(schema.meta).values(values))
    touched = frozenset(SliceKey(key) for key in owners if key is not None)
    allocations.touch(connection, touched, serial)
    return touched


def _free(connection: Connection, meta: Row[Any], keys: Collection[SliceKey]) -> None:
    """Free what these slices no longer use; a slice that leaves changes the numbers, at the serial just raised."""
    if allocations.free(connection, keys):
        connection.execute(update(schema.meta).values(given_moved=meta.serial + 1))
