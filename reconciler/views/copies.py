"""Formats the copies of a state that were kept before applies."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.spec.quoting import escape
from reconciler.views import state_documents as documents
from reconciler.views.history import TIME
from reconciler.views.state import contents_text
from reconciler.views.tables import Table
from reconciler.views.view import View
from reconciler.workflow.state_copies import KeptCopy, Restored


def copies_view(found: Sequence[KeptCopy]) -> View:
    """List the copies of a state, newest first."""
    rows = [
        {
            "copy": each.name,
            "serial": each.export.serial,
            "slices": len(each.export.slices),
            "resources": len(each.export.resources),
            "latest apply": f"{each.export.history[-1].started.strftime(TIME)} UTC" if each.export.history else "-",
        }
        for each in found
    ]
    return View(
        lambda: [Table(rows) if rows else "There is no copy of the state: one is kept before each apply.\n"],
        lambda: [
            documents.KeptCopy(
                name=each.name,
                serial=each.export.serial,
                slices=len(each.export.slices),
                resources=len(each.export.resources),
                latest=each.export.history[-1].started.isoformat() if each.export.history else None,
            )
            for each in found
        ],
    )


def restore_warning(copy: KeptCopy) -> str:
    """Return the warning that precedes a restore."""
    return f"{copy.name} has {contents_text(copy.export)}; it replaces this state.\n"


def restored_view(done: Restored) -> View:
    """Say which copy was restored, and where the replaced state was saved."""
    saved = f" The previous state was saved in {done.kept}." if done.kept else ""
    next_step = " If applies followed that copy, run `reconciler state rebuild`: the hosts know what they did."
    document = documents.RestoredState(
        restored=done.copy.name, serial=done.copy.export.serial, kept=str(done.kept) if done.kept else None
    )
    text = f"Restored {done.copy.name}.{saved}{next_step}\n"
    return View(lambda: [escape(text)], lambda: document)
