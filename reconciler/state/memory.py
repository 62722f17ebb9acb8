"""Stores a state in memory, in plain Python; a copy of the whole state is cheap, because no version is modified."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from threading import RLock
from typing import Any, Final

from reconciler.errors import StateError
from reconciler.plan.model import Action, Plan, Step
from reconciler.plan.renames import Rename, renamed_allocation, renamed_claim, renamed_entry
from reconciler.plan.results import StepResult, StepStatus
from reconciler.plan.snapshot import (
    SHARED,
    Claim,
    Cordon,
    Counters,
    ResourceState,
    StateSnapshot,
    Status,
    claims,
)
from reconciler.spec.models.names import Address, HostName, SliceKey
from reconciler.spec.quoting import plural
from reconciler.state import refusals, rows, staleness
from reconciler.state.codec import encode_allocation
from reconciler.state.image import Entry, HeldLock, Image, Meta, SliceMark
from reconciler.state.locks import process
from reconciler.state.locks.ttl import TTL
from reconciler.state.status import deletes_leftover, state_once_done, status_after
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

_TICK: Final = timedelta(microseconds=1)
"""What makes two renewals differ if the clock has not advanced."""


class _Cell:
    """The current version, which every copy of a store shares."""

    def __init__(self) -> None:
        self.image = Image()
        self.versions = count(1)
        self.lock = RLock()


class MemoryStore:
    """A StateStore that lasts as long as the process; `image` and `restore` copy the whole state.

    `on_write` is called before and after each write of an apply, with a description of it.
    """

    def __init__(
        self,
        clock: Callable[[], datetime],
        *,
        ttl: timedelta = TTL,
        on_write: Callable[[str], None] = lambda _: None,
        lineage: str = "",
    ) -> None:
        self._clock = clock
        self._ttl = ttl
        self._on_write = on_write
        self._under: tuple[Lock, ...] = ()
        self._cell = _Cell()
        self._cell.image.meta = Meta(lineage=lineage)

    def image(self) -> Image:
        """Return the whole state as it is now, with its locks."""
        return self._cell.image

    def restore(self, image: Image) -> None:
        """Set the whole state back to an image, with the locks that were held."""
        self._cell.image = image
        self._cell.versions = count(max(image.version, next(self._cell.versions)) + 1)

    @property
    def ttl(self) -> timedelta:
        """The time to live of a lock that is not renewed."""
        return self._ttl

    def read(self, scope: Collection[SliceKey] | None = None) -> StateSnapshot:
        """Return the state with the resources of the slices in scope (None: of all) and of what slices share."""
        now = self._cell.image
        wanted = None if scope is None else frozenset(scope)
        held: dict[SliceKey, set[Claim]] = {}
        for claim, (key, is_held) in now.claims.items():
            if is_held:
                held.setdefault(key, set()).add(claim)
        return StateSnapshot(
            lineage=now.meta.lineage,
            serial=now.meta.serial,
            counters=now.meta.counters,
            allocations={key: now.allocations[key] for key in sorted(now.allocations)},
            held={key: frozenset(held[key]) for key in sorted(held)},
            resources={
                address: entry.state
                for address, entry in sorted(now.resources.items())
                if wanted is None or entry.state.resource.slice is None or entry.state.resource.slice in wanted
            },
            cordoned=dict(sorted(now.cordons.items())),
        )

    def marks(self, scope: Collection[SliceKey], apply: ApplyId) -> StateMarks:
        """Return the marks of those of these slices that the state has, and the start of an apply."""
        now = self._cell.image
        return rows.marks(now.meta, now.applies.values(), _moved(now, scope).items(), apply)

    def history(self, limit: int = 20) -> tuple[HistoryEntry, ...]:
        """Return the latest applies, newest first."""
        applies = self._cell.image.applies
        return tuple(applies[key] for key in sorted(applies, reverse=True)[:limit])

    def journal(self, apply: ApplyId) -> tuple[JournalEntry, ...]:
        """Return the steps that an apply attempted, in the order of their intents."""
        return self._cell.image.journal.get(apply, ())

    def locks(self) -> tuple[Lock, ...]:
        """Return the locks that are held now, by name."""
        locks = self._cell.image.locks
        return tuple(locks[name].lock for name in sorted(locks))

    def orphans(self) -> tuple[SeenOrphan, ...]:
        """Return the orphans that were seen on hosts, by host and address."""
        seen = self._cell.image.seen
        return tuple(seen[orphan] for orphan in sorted(seen))

    def life(self, lock: Lock, observer: Holder) -> Life:
        """Estimate, for people, whether a lock's holder still works."""
        held = self._cell.image.locks.get(lock.name)
        if held is None or held.lock.token != lock.token or held.is_abandoned(observer):
            return Life.ENDED
        return Life.SILENT if held.lock.alive + self._ttl < self._clock() else Life.ALIVE

    def check_plan(self, plan: Plan) -> None:
        """Raise StateMoved where `begin` would; changes nothing."""
        _refuse_stale(self._cell.image, plan)

    @contextmanager
    def lock(self, names: Collection[str], holder: Holder, silent: Collection[Lock] = ()) -> Iterator[tuple[Lock, ...]]:
        """Hold all of these locks while the block runs, or none: raises StateLocked naming who holds one."""
        with self._writing() as draft:
            taken = self._take(draft, sorted(set(names)), holder, silent)
        try:
            yield taken
        except BaseException:
            with suppress(StateError):  # the first error is reported; a lock that is left is taken over
                self._release(taken)
            raise
        self._release(taken)

    def renew(self, taken: Collection[Lock]) -> None:
        """Show that the holder of these locks is alive; raises StateLost if another holder has one of them."""
        with self._writing() as draft:
            _refuse_lost(draft, taken)
            alive = self._clock()
            before = [draft.locks[lock.name].lock.alive for lock in taken]
            if late := [time for time in before if alive <= time < alive + timedelta(seconds=1)]:
                alive = max(late) + _TICK
            for lock in taken:
                held = draft.locks[lock.name]
                draft.locks[lock.name] = replace(held, lock=replace(held.lock, alive=alive))

    def under(self, taken: Collection[Lock]) -> MemoryStore:
        """Return this store for the holder of these locks: its writes are refused once one of them is lost."""
        guarded = copy(self)
        guarded._under = (*self._under, *taken)  # noqa: SLF001 - of the same class
        return guarded

    def outgrow(self, token: int) -> None:
        """Give out only tokens above this one from now on."""
        with self._writing() as draft:
            draft.meta = replace(draft.meta, token=max(draft.meta.token, token))

    def forget(self, addresses: Collection[Address]) -> Mapping[Address, ResourceState]:
        """Remove resources from the state as if they were confirmed gone, and return what it said of them."""
        with self._observed(plural(len(addresses), "lost resource")), self._writing() as draft:
            found = {where: draft.resources.pop(where).state for where in addresses if where in draft.resources}
            _free(draft, _move(draft, [entry.resource.slice for entry in found.values()]))
            return found

    def begin(self, plan: Plan, holder: Holder, digest: str, verb: Verb = Verb.APPLY) -> ApplyId:
        """Write a plan's allocations and counters, and open its apply; raises StateMoved for a stale plan."""
        with self._observed("the start"), self._writing() as draft:
            _refuse_stale(draft, plan)
            serial = draft.meta.serial + 1
            for change in plan.renames:
                _rename(draft, change)
            given = _give(draft, plan, serial) or bool(plan.renames)
            _expect(draft, plan)
            draft.meta = replace(
                draft.meta,
                serial=serial,
                counters=_grown(draft.meta.counters, plan.counters),
                given_moved=serial if given else draft.meta.given_moved,
            )
            return self._open(draft, plan.slices, holder, digest, verb)

    def intend(self, apply: ApplyId, steps: Sequence[Step]) -> None:
        """Write that these steps are about to be attempted: resources are creating, deleting, or pending."""
        with self._observed(plural(len(steps), "intent")), self._writing() as draft:
            self._add_intents(draft, apply, steps)
            _intend(draft, steps)
            _move(draft, [step.subject.slice for step in steps])

    def record(self, apply: ApplyId, results: Sequence[StepResult]) -> None:
        """Write the results of steps and the status of their resources; what nothing uses any more becomes free."""
        with self._observed(plural(len(results), "result")), self._writing() as draft:
            self._add_results(draft, apply, results)
            _record(draft, results)
            _free(draft, _move(draft, [result.step.subject.slice for result in results]))

    def finish(self, apply: ApplyId, result: str, skipped: int) -> None:
        """Close an apply; a slice in its scope with nothing left to delete frees the claims that it held."""
        with self._observed("the end"), self._writing() as draft:
            entry = _open_apply(draft, apply)
            draft.applies[apply] = replace(entry, finished=self._clock(), result=result, skipped=skipped)
            _move(draft, ())
            _free(draft, entry.slices)

    def take_turn(self, after: Callable[[int], int]) -> int:
        """Return the round-robin turn, and set it to what `after` returns for it."""
        with self._writing() as draft:
            turn = draft.meta.counters.turn
            draft.meta = replace(draft.meta, counters=replace(draft.meta.counters, turn=after(turn)))
            _renumber(draft)
            return turn

    def cordons(self) -> Mapping[HostName, Cordon]:
        """Return the hosts that take no new VMs, by name."""
        return dict(sorted(self._cell.image.cordons.items()))

    def cordon(self, host: HostName, user: str) -> Cordon:
        """Let a host take no new VMs, and return its cordon; one that it has already stays as it is."""
        with self._writing() as draft:
            if host not in draft.cordons:
                _renumber(draft)
                draft.cordons[host] = Cordon(user, self._clock().isoformat())
            return draft.cordons[host]

    def uncordon(self, host: HostName) -> Cordon | None:
        """Let a host take new VMs again, and return the cordon that it had."""
        with self._writing() as draft:
            before = draft.cordons.pop(host, None)
            if before is not None:
                _renumber(draft)
            return before

    def see_orphans(self, found: Collection[OrphanId], hosts: Collection[HostName]) -> None:
        """Count the orphans that were found on these hosts, and forget those that are no longer there."""
        with self._writing() as draft:
            now, before = self._clock(), draft.seen
            draft.seen = {orphan: one for orphan, one in before.items() if orphan.host not in hosts}
            for orphan in set(found):
                known = before.get(orphan)
                draft.seen[orphan] = (
                    SeenOrphan(orphan, now, 1)
                    if known is None
                    else SeenOrphan(orphan, min(known.first, now), known.count + 1)
                )

    def begin_removal(self, slices: Collection[SliceKey], holder: Holder, digest: str) -> ApplyId:
        """Open an apply that deletes orphans of these slices; `finish` closes it."""
        with self._writing() as draft:
            _move(draft, ())
            return self._open(draft, tuple(sorted(slices)), holder, digest, Verb.GC)

    def intend_removal(self, apply: ApplyId, steps: Sequence[Step]) -> None:
        """Write that orphans are about to be deleted; resources in the state do not change, whatever their address."""
        with self._writing() as draft:
            self._add_intents(draft, apply, steps)
            _move(draft, ())

    def record_removal(self, apply: ApplyId, results: Sequence[StepResult], gone: Collection[OrphanId]) -> None:
        """Write the results of deletions, and forget the orphans that are gone."""
        with self._writing() as draft:
            self._add_results(draft, apply, results)
            for orphan in gone:
                draft.seen.pop(orphan, None)
            _move(draft, ())

    def force_unlock(self, name: str, token: int | None = None) -> Lock | None:
        """Delete a lock and return it; None if it is not held, or not under the token given."""
        with self._writing() as draft:
            held = draft.locks.get(name)
            if held is None or token not in (None, held.lock.token):
                return None
            del draft.locks[name]
            return held.lock

    def close(self) -> None:
        """Keep nothing open."""

    @contextmanager
    def _observed(self, what: str) -> Iterator[None]:
        self._on_write(f"before writing {what}")
        yield
        self._on_write(f"after writing {what}")

    @contextmanager
    def _writing(self, *, guarded: bool = True) -> Iterator[Image]:
        """Yield a draft that becomes the state if the block does not raise."""
        cell = self._cell
        with cell.lock:
            draft = cell.image.draft(next(cell.versions))
            if guarded and self._under:
                _refuse_lost(draft, self._under)
            yield draft
            cell.image = draft

    def _take(self, draft: Image, names: Sequence[str], holder: Holder, silent: Collection[Lock]) -> tuple[Lock, ...]:
        for name in names:
            held = draft.locks.get(name)
            if held is not None and not held.is_abandoned(holder) and held.lock not in silent:
                raise refusals.locked(held.lock)
        now, token = self._clock(), draft.meta.token
        taken = tuple(Lock(name, holder, now, token + number, now) for number, name in enumerate(names, start=1))
        identity = process.identify(holder.pid)
        draft.locks |= {lock.name: HeldLock(lock, identity) for lock in taken}
        draft.meta = replace(draft.meta, token=token + len(taken))
        return taken

    def _release(self, taken: Collection[Lock]) -> None:
        tokens = {lock.token for lock in taken}
        with self._writing(guarded=False) as draft:
            draft.locks = {name: held for name, held in draft.locks.items() if held.lock.token not in tokens}

    def _open(self, draft: Image, slices: tuple[SliceKey, ...], holder: Holder, digest: str, verb: Verb) -> ApplyId:
        apply = ApplyId(draft.meta.applies + 1)
        draft.meta = replace(draft.meta, applies=apply)
        draft.applies[apply] = HistoryEntry(apply, slices, holder, self._clock(), None, "", digest, 0, 0, 0, verb)
        return apply

    def _add_intents(self, draft: Image, apply: ApplyId, steps: Sequence[Step]) -> None:
        _open_apply(draft, apply)
        now = self._clock()
        entries = [
            JournalEntry(apply, step.id, step.action.value, step.address, step.host, now, None, None, "")
            for step in steps
        ]
        draft.journal[apply] = (*draft.journal.get(apply, ()), *entries)

    def _add_results(self, draft: Image, apply: ApplyId, results: Sequence[StepResult]) -> None:
        entry, now = _open_apply(draft, apply), self._clock()
        known = {one.step for one in draft.journal.get(apply, ()) if one.finished is None}
        failed = [result.step for result in results if result.status is not StepStatus.DONE]
        if unintended := [step for step in failed if step.id not in known]:
            self._add_intents(draft, apply, unintended)
        by_step: dict[int, StepResult] = {result.step.id: result for result in results}
        draft.journal[apply] = tuple(
            replace(one, finished=now, status=found.status.value, message=found.message)
            if one.finished is None and (found := by_step.get(one.step)) is not None
            else one
            for one in draft.journal.get(apply, ())
        )
        done = sum(result.status is StepStatus.DONE for result in results)
        draft.applies[apply] = replace(entry, done=entry.done + done, failed=entry.failed + len(results) - done)


def _open_apply(draft: Image, apply: ApplyId) -> HistoryEntry:
    entry = draft.applies.get(apply)
    if entry is None or entry.finished is not None:
        raise StateError(f"apply {apply} is not open: it {'does not exist' if entry is None else 'is finished'}")
    return entry


def _refuse_lost(draft: Image, taken: Collection[Lock]) -> None:
    held = {name: entry.lock for name, entry in draft.locks.items()}
    lost = [lock for lock in taken if lock.name not in held or held[lock.name].token != lock.token]
    if lost:
        first = min(lost, key=lambda lock: (lock.name == SHARED, lock.name))
        latest = [draft.applies[key] for key in sorted(draft.applies, reverse=True)[: refusals.LATEST]]
        raise refusals.lost(first, held.get(first.name), latest)


def _refuse_stale(now: Image, plan: Plan) -> None:
    staleness.check(now.meta, plan, _moved(now, staleness.concerned(plan)), lambda: now.documents)


def _moved(now: Image, keys: Collection[SliceKey]) -> dict[SliceKey, int]:
    return {key: now.slices[key].moved for key in keys if key in now.slices}


def _grown(had: Counters, given: Counters) -> Counters:
    """Return the larger of each counter: counters only grow."""
    return Counters(
        max(had.slice_id, given.slice_id),
        max(had.vm_id, given.vm_id),
        max(had.link_id, given.link_id),
        max(had.turn, given.turn),
    )


def _rename(draft: Image, change: Rename) -> None:
    """Give a slice and its VMs their new names everywhere."""
    allocation = renamed_allocation(draft.allocations.pop(change.former), change)
    del draft.documents[change.former]
    draft.allocations[change.key], draft.documents[change.key] = allocation, encode_allocation(allocation)
    draft.slices[change.key] = draft.slices.pop(change.former)
    draft.claims = {
        renamed_claim(claim, change) if key == change.former else claim: (
            change.key if key == change.former else key,
            held,
        )
        for claim, (key, held) in draft.claims.items()
    }
    entries = [entry for entry in draft.resources.values() if entry.state.resource.slice == change.former]
    for entry in entries:
        del draft.resources[entry.state.resource.address]
    for entry in entries:
        state = renamed_entry(entry.state, change)
        draft.resources[state.resource.address] = replace(entry, state=state)


def _give(draft: Image, plan: Plan, serial: int) -> bool:
    """Write a plan's allocations, and claim their numbers beside those that their slices had; True if any changed."""
    given = staleness.changed_allocations(plan, draft.documents)
    for key in plan.slices:
        draft.slices[key] = SliceMark(serial, key not in plan.allocations)
    if not given:
        return False
    others = {claim: entry for claim, entry in draft.claims.items() if entry[0] not in given}
    rows = _rows(given, plan, {claim: key for claim, (key, _) in draft.claims.items() if key in given})
    for claim, (key, _) in rows.items():
        if claim in others:
            raise refusals.claimed_twice(claim, others[claim][0], key)
    draft.claims = others | rows
    for key, document in given.items():
        draft.allocations[key], draft.documents[key] = plan.allocations[key], document
    return True


def _rows(
    given: Collection[SliceKey], plan: Plan, kept: Mapping[Claim, SliceKey]
) -> dict[Claim, tuple[SliceKey, bool]]:
    """Return the claims of slices with new allocations: those of the allocations, and those that are only held."""
    rows: dict[Claim, tuple[SliceKey, bool]] = {}
    for key in given:
        for claim in claims(key, plan.allocations[key]):
            if claim in rows:
                raise refusals.claimed_twice(claim, rows[claim][0], key)
            rows[claim] = (key, False)
    for claim, key in kept.items():
        if rows.setdefault(claim, (key, True))[0] != key:
            raise refusals.claimed_twice(claim, key, rows[claim][0])
    return rows


def _expect(draft: Image, plan: Plan) -> None:
    """Mark as due what a plan is yet to change or delete, and whatever in its scope is not present."""
    scope, addresses = set(plan.slices), {step.address for step in plan.steps}
    for address, entry in draft.resources.items():
        due = entry.due
        if entry.state.resource.slice in scope:
            due = entry.state.status is not Status.PRESENT
        due = due or address in addresses
        if due != entry.due:
            draft.resources[address] = replace(entry, due=due)


def _intend(draft: Image, steps: Sequence[Step]) -> None:
    """Write the status of resources once these steps may have begun."""
    before = {step.address: draft.resources[step.address] for step in steps if step.address in draft.resources}
    for step in steps:
        if step.action is Action.CREATE or step.address not in before:
            draft.resources[step.address] = _attempted(step, before.get(step.address))
    for step in steps:
        if step.address in before and step.action is not Action.CREATE:
            if deletes_leftover(step, before[step.address].state.resource.host):
                continue
            change: dict[str, Any] = (
                {"status": Status.DELETING}
                if step.action is Action.DELETE
                else {"status": Status.UNKNOWN, "pending": step.after}
            )
            entry = draft.resources[step.address]
            draft.resources[step.address] = replace(entry, state=replace(entry.state, **change))


def _attempted(step: Step, had: Entry | None) -> Entry:
    """Return the entry of a resource that is created, or changed without being in the state."""
    match step.action:
        case Action.CREATE:
            return Entry(ResourceState(step.subject, Status.CREATING), due=had is not None and had.due)
        case Action.DELETE:
            return Entry(ResourceState(step.subject, Status.DELETING), due=True)
        case Action.UPDATE | Action.REPLACE:
            return Entry(ResourceState(step.before or step.subject, Status.UNKNOWN, step.after), due=True)


def _record(draft: Image, results: Sequence[StepResult]) -> None:
    """Write the status of resources after these steps; for one address, the last result counts."""
    for address, result in {result.step.address: result for result in results}.items():
        status, entry = status_after(result), draft.resources.get(address)
        if entry is not None and deletes_leftover(result.step, entry.state.resource.host):
            if result.status is StepStatus.DONE:
                draft.resources[address] = Entry(ResourceState(entry.state.resource), due=False)
        elif status is None:
            draft.resources.pop(address, None)
        elif status is Status.PRESENT:
            draft.resources[address] = Entry(state_once_done(result.step), due=result.step.moves)
        elif entry is not None:
            draft.resources[address] = replace(entry, state=replace(entry.state, status=status))


def _renumber(draft: Image) -> None:
    """Raise the serial, and make plans stale that give out numbers."""
    serial = draft.meta.serial + 1
    draft.meta = replace(draft.meta, serial=serial, given_moved=serial)


def _move(draft: Image, owners: Sequence[str | None]) -> frozenset[SliceKey]:
    """Raise the serial, and mark the slices whose resources changed; returns these slices."""
    serial = draft.meta.serial + 1
    shared = serial if None in owners else draft.meta.shared_moved
    draft.meta = replace(draft.meta, serial=serial, shared_moved=shared)
    touched = frozenset(SliceKey(key) for key in owners if key is not None)
    for key in touched & draft.slices.keys():
        draft.slices[key] = replace(draft.slices[key], moved=serial)
    return touched


def _free(draft: Image, keys: Collection[SliceKey]) -> None:
    """Free the claims that these slices hold for nothing any more, and remove slices that have left."""
    entries: Mapping[str | None, list[Entry]] = _by_slice(draft, keys)
    settled = {key for key in keys if not any(entry.due for entry in entries[key])}
    draft.claims = {claim: (key, held) for claim, (key, held) in draft.claims.items() if not (held and key in settled)}
    left = {key for key in keys if key in draft.slices and draft.slices[key].leaving and not entries[key]}
    if left:
        draft.claims = {claim: entry for claim, entry in draft.claims.items() if entry[0] not in left}
        for key in left:
            del draft.slices[key]
            draft.allocations.pop(key, None)
            draft.documents.pop(key, None)
        draft.meta = replace(draft.meta, given_moved=draft.meta.serial)


def _by_slice(draft: Image, keys: Collection[SliceKey]) -> dict[str | None, list[Entry]]:
    found: dict[str | None, list[Entry]] = {key: [] for key in keys}
    for entry in draft.resources.values():
        if entry.state.resource.slice in found:
            found[entry.state.resource.slice].append(entry)
    return found
