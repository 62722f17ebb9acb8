"""Turns database rows into the state's values; every reader uses it, whichever library fetched the row."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from reconciler.plan.snapshot import Claim, Cordon, Counters, ResourceState, Status
from reconciler.spec.models.names import HostName, LinkId, SliceId, SliceKey, VmId
from reconciler.state.codec import decode_names, decode_resource
from reconciler.state.locks import process
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


def counters(meta: Any) -> Counters:
    """Return the counters of the `meta` row."""
    return Counters(SliceId(meta.slice_id), VmId(meta.vm_id), LinkId(meta.link_id), meta.turn)


def resource_state(status: str, attributes: str, pending: str | None) -> ResourceState:
    """Return a resource's state; raises ValueError, KeyError or TypeError for a row of another format."""
    return ResourceState(
        decode_resource(attributes), Status(status), None if pending is None else decode_resource(pending)
    )


def held_claims(claims: Iterable[tuple[str, str, str, str]]) -> dict[SliceKey, frozenset[Claim]]:
    """Group held claims, given as (slice, kind, scope, value), by slice."""
    found: dict[SliceKey, set[Claim]] = {}
    for key, kind, scope, value in claims:
        found.setdefault(SliceKey(key), set()).add(Claim(kind, scope, value))
    return {key: frozenset(found[key]) for key in sorted(found)}


def scope(text: str) -> tuple[SliceKey, ...]:
    """Return the slices of an apply."""
    return tuple(SliceKey(name) for name in decode_names(text))


def marks(meta: Any, starts: Iterable[Any], moved: Iterable[tuple[SliceKey, int]], apply: ApplyId) -> StateMarks:
    """Return the marks of slices; `starts` has the starts of `apply` and of the latest apply, as far as they exist."""
    started = {row.id: row.started for row in starts}
    latest = (ApplyId(meta.applies), started[meta.applies]) if meta.applies in started else None
    return StateMarks(meta.lineage, meta.serial, dict(moved), latest, started.get(apply))


def history_entry(row: Any) -> HistoryEntry:
    """Return one apply; raises ValueError or TypeError for a row of another format."""
    return HistoryEntry(
        id=row.id,
        slices=scope(row.slices),
        holder=Holder(row.user, row.host, row.pid),
        started=row.started,
        finished=row.finished,
        result=row.result,
        digest=row.digest,
        done=row.done,
        failed=row.failed,
        skipped=row.skipped,
        verb=Verb(row.verb),
    )


def journal_entry(row: Any) -> JournalEntry:
    """Return one attempted step."""
    return JournalEntry(
        apply=row.apply,
        step=row.step,
        action=row.action,
        address=row.address,
        host=row.host,
        intended=row.intended,
        finished=row.recorded,
        status=row.outcome,
        message=row.words,
    )


def seen_orphan(row: Any) -> SeenOrphan:
    """Return one orphan."""
    return SeenOrphan(OrphanId(row.host, row.address, row.fingerprint), row.first_seen, row.seen)


def cordons(found: Iterable[Any]) -> dict[HostName, Cordon]:
    """Return the cordons by host."""
    return {
        HostName(row.host): Cordon(row.user, row.since.isoformat()) for row in sorted(found, key=lambda row: row.host)
    }


def lock(row: Any, ttl: timedelta) -> Lock:
    """Return one lock; its last renewal was one time to live before it expires."""
    alive = row.since if row.expires is None else row.expires - ttl
    return Lock(row.name, Holder(row.user, row.host, row.pid), row.since, row.token, alive)


def is_abandoned(row: Any, observer: Holder) -> bool:
    """Whether a lock's holder has certainly ended; only a process on the holder's own host can know."""
    was = process.Identity(row.process, row.boot, row.machine)
    return bool(row.host == observer.host and process.gone(row.pid, was))


def life(row: Any, observer: Holder, now: datetime) -> Life:
    """Estimate whether a lock's holder still works: by its process if it is on this host, else by the clocks."""
    if row is None or is_abandoned(row, observer):
        return Life.ENDED
    return Life.SILENT if row.expires is None or row.expires < now else Life.ALIVE
