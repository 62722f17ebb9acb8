"""Stores applies and their journal: what was attempted, by whom, when, and with which result."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from reconciler.errors import StateError
from reconciler.plan.model import Step
from reconciler.plan.results import StepResult, StepStatus
from reconciler.spec.models.names import SliceKey
from reconciler.state import rows
from reconciler.state.codec import encode_names
from reconciler.state.sql import schema
from reconciler.state.store import ApplyId, HistoryEntry, Holder, JournalEntry, Verb

_APPLIES, _JOURNAL = schema.applies, schema.journal


def latest(connection: Connection, limit: int) -> tuple[HistoryEntry, ...]:
    """Return the latest applies, newest first; raises ValueError or TypeError for a row of another format."""
    found = connection.execute(select(_APPLIES).order_by(_APPLIES.c.id.desc()).limit(limit))
    return tuple(map(rows.history_entry, found))


def starts(connection: Connection, applies: Collection[ApplyId]) -> Iterable[Row[Any]]:
    """Return those of these applies that the state has, with their starts."""
    return connection.execute(select(_APPLIES.c.id, _APPLIES.c.started).where(_APPLIES.c.id.in_(applies)))


def journal(connection: Connection, apply: ApplyId) -> tuple[JournalEntry, ...]:
    """Return the steps that an apply attempted, in the order of their intents."""
    found = connection.execute(select(_JOURNAL).where(_JOURNAL.c.apply == apply).order_by(_JOURNAL.c.id))
    return tuple(map(rows.journal_entry, found))


def open_apply(  # noqa: PLR0913, PLR0917 - the columns of an apply
    connection: Connection,
    apply: ApplyId,
    slices: tuple[SliceKey, ...],
    holder: Holder,
    now: datetime,
    digest: str,
    verb: Verb,
) -> None:
    """Write that an apply has begun."""
    row = {
        "id": apply,
        "slices": encode_names(slices),
        "user": holder.user,
        "host": holder.host,
        "pid": holder.pid,
        "started": now,
        "result": "",
        "digest": digest,
        "done": 0,
        "failed": 0,
        "skipped": 0,
        "verb": verb.value,
    }
    connection.execute(insert(_APPLIES), row)


def intend(connection: Connection, apply: ApplyId, steps: Sequence[Step], now: datetime) -> None:
    """Open a journal entry for each step; raises StateError where the apply is not open."""
    _scope(connection, apply)
    if steps:
        connection.execute(insert(_JOURNAL), [_intent(apply, step, now) for step in steps])


def record(connection: Connection, apply: ApplyId, results: Sequence[StepResult], now: datetime) -> None:
    """Close the open journal entry of each step, and count the results; raises StateError as `intend` does.

    A step that failed before it was attempted, because its host cannot be reached or refuses it, gets an entry too.
    """
    _scope(connection, apply)
    if not results:
        return
    intend(connection, apply, list(_unintended(connection, apply, results)), now)
    this = (_JOURNAL.c.apply == apply, _JOURNAL.c.step == bindparam("b_step"), _JOURNAL.c.recorded.is_(None))
    values = {"recorded": now, "outcome": bindparam("b_outcome"), "words": bindparam("b_words")}
    closed = [
        {"b_step": result.step.id, "b_outcome": result.status.value, "b_words": _storable(result.message)}
        for result in results
    ]
    connection.execute(update(_JOURNAL).where(*this).values(values), closed)
    done = sum(result.status is StepStatus.DONE for result in results)
    counts = {"done": _APPLIES.c.done + done, "failed": _APPLIES.c.failed + len(results) - done}
    connection.execute(update(_APPLIES).where(_APPLIES.c.id == apply).values(counts))


def _unintended(connection: Connection, apply: ApplyId, results: Sequence[StepResult]) -> Iterator[Step]:
    """Yield the failed steps that have no open entry."""
    failed = [result.step for result in results if result.status is not StepStatus.DONE]
    if failed:
        this = (_JOURNAL.c.apply == apply, _JOURNAL.c.recorded.is_(None))
        known = set(connection.execute(select(_JOURNAL.c.step).where(*this)).scalars())
        yield from (step for step in failed if step.id not in known)


def finish(connection: Connection, apply: ApplyId, result: str, skipped: int, now: datetime) -> tuple[SliceKey, ...]:
    """Close an apply and return the slices in its scope; raises StateError where it is not open."""
    scope = _scope(connection, apply)
    values = {"finished": now, "result": result, "skipped": skipped}
    connection.execute(update(_APPLIES).where(_APPLIES.c.id == apply).values(values))
    return scope


def _scope(connection: Connection, apply: ApplyId) -> tuple[SliceKey, ...]:
    """Return the slices of an apply that is open; raises StateError where it is not."""
    columns = (_APPLIES.c.slices, _APPLIES.c.finished)
    row = connection.execute(select(*columns).where(_APPLIES.c.id == apply)).one_or_none()
    if row is None or row.finished is not None:
        raise StateError(f"apply {apply} is not open: it {'does not exist' if row is None else 'is finished'}")
    return rows.scope(row.slices)


def _storable(message: str) -> str:
    """Return a host's message without what a database cannot store as text: NUL, and unpaired surrogates."""
    return message.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _intent(apply: ApplyId, step: Step, now: datetime) -> dict[str, Any]:
    return {
        "apply": apply,
        "step": step.id,
        "action": step.action.value,
        "address": step.address,
        "host": step.host,
        "intended": now,
        "words": "",
    }
