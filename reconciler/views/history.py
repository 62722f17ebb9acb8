"""Formats the history: applies, and the steps of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reconciler.state.store import HistoryEntry, JournalEntry
from reconciler.views import documents
from reconciler.views.tables import Table
from reconciler.views.view import View

TIME = "%Y-%m-%d %H:%M:%S"


def history_view(applies: Sequence[HistoryEntry]) -> View:
    """Show one row for each apply."""
    return View(
        lambda: [Table([_apply_row(one) for one in applies]) if applies else "Nothing has been applied.\n"],
        lambda: [_apply_document(one) for one in applies],
    )


def steps_view(entries: Sequence[JournalEntry]) -> View:
    """Show one row for each step of an apply."""
    return View(
        lambda: [Table([_step_row(one) for one in entries]) if entries else "That apply attempted no step.\n"],
        lambda: [_step_document(one) for one in entries],
    )


def holder_document(holder: Any) -> documents.Holder:
    """Return the document of a process that holds a lock or ran an apply."""
    return documents.Holder.model_validate(holder)


def _step_row(entry: JournalEntry) -> dict[str, Any]:
    return {
        "step": entry.step,
        "action": entry.action,
        "address": entry.address,
        "host": entry.host,
        "result": entry.status,
        "message": entry.message or None,
    }


def _step_document(entry: JournalEntry) -> documents.HistoryStep:
    return documents.HistoryStep(
        step=entry.step,
        action=entry.action,
        address=entry.address,
        host=entry.host,
        outcome=entry.status,
        words=entry.message or None,
        intended=entry.intended.isoformat(),
        recorded=entry.finished.isoformat() if entry.finished else None,
    )


def _apply_document(entry: HistoryEntry) -> documents.HistoryDocument:
    return documents.HistoryDocument(
        id=entry.id,
        verb=entry.verb.value,
        slices=list(entry.slices),
        holder=holder_document(entry.holder),
        started=entry.started.isoformat(),
        finished=entry.finished.isoformat() if entry.finished else None,
        result=entry.result,
        digest=entry.digest,
        done=entry.done,
        failed=entry.failed,
        skipped=entry.skipped,
    )


def _apply_row(entry: HistoryEntry) -> dict[str, Any]:
    seconds = (entry.finished - entry.started).total_seconds() if entry.finished else None
    return {
        "apply": entry.id,
        "verb": entry.verb.value,
        "started": f"{entry.started.strftime(TIME)} UTC",
        "by": f"{entry.holder.user}@{entry.holder.host}",
        "seconds": None if seconds is None else f"{seconds:.1f}",
        "result": entry.result or "not finished",
        "done": entry.done,
        "failed": entry.failed,
        "skipped": entry.skipped,
        "slices": entry.slices,
    }
