"""Formats what the verbs of `state`, and `unlock`, show."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from reconciler.plan.data_loss import losses_text
from reconciler.plan.graph import natural
from reconciler.plan.resources import to_data
from reconciler.plan.snapshot import ResourceState
from reconciler.spec.models.names import Address
from reconciler.spec.quoting import escape, plural
from reconciler.state.export import Export
from reconciler.state.store import Life, Lock
from reconciler.views import documents
from reconciler.views.history import TIME, holder_document
from reconciler.views.tables import Table
from reconciler.views.values import essence, show_change
from reconciler.views.view import Document, View
from reconciler.workflow.state_admin import Imported

_SEEMS = {
    "alive": "It seems to be running. Anything it still sends is refused from then on: ask its user first.",
    "silent": "It has not renewed its lease for long. If it returns, anything it still sends is refused.",
    "ended": "Its process has ended.",
}


def list_view(found: Mapping[Address, ResourceState]) -> View:
    """Show one row for each resource."""
    rows = [
        {"address": address, "host": entry.resource.host, "status": entry.status.value}
        for address, entry in found.items()
    ]
    return View(
        lambda: [Table(rows) if rows else "There is no resource in the state.\n"],
        lambda: [documents.StateEntry(**row) for row in rows],
    )


def resource_view(entry: ResourceState) -> View:
    """Show one resource with all attributes."""
    return View(lambda: [_resource_text(entry)], lambda: _resource_document(entry))


def _resource_document(entry: ResourceState) -> documents.StateResource:
    return documents.StateResource(
        address=entry.resource.address,
        host=entry.resource.host,
        status=entry.status.value,
        attributes=to_data(entry.resource),
        pending=None if entry.pending is None else to_data(entry.pending),
    )


def _resource_text(entry: ResourceState) -> str:
    pending = to_data(entry.pending) if entry.pending is not None else {}
    lines = [f"{entry.resource.address} on {entry.resource.host}: {entry.status}"]
    for name, value in to_data(entry.resource).items():
        becoming = pending.get(name, value)
        shown, shown_becoming = show_change(name, value, becoming)
        lines.append(f"  {name} = {shown}{f' -> {shown_becoming}' if becoming != value else ''}")
    return "\n".join(lines) + "\n"


def free_lock_view(name: str) -> View:
    """Say that a lock is not held."""
    return _line(f"The lock of {name} is not held.", documents.FreeLock(lock=name, unlocked=False))


def removed_lock_view(lock: Lock, life: Life, *, removed: bool) -> View:
    """Say whether a lock was removed."""
    text = f"Unlocked {lock.name}." if removed else f"{lock.name} was released meanwhile; nothing was changed."
    return _line(
        text,
        documents.RemovedLock(
            lock=lock.name,
            holder=holder_document(lock.holder),
            since=lock.since.isoformat(),
            last_sign_of_life=lock.alive.isoformat(),
            seems=life.value,
            unlocked=removed,
        ),
    )


def lock_warning(lock: Lock, life: Life) -> str:
    """Return who holds a lock, and whether that process seems to be running."""
    return (
        f"warning: {lock.name} is locked by {lock.holder} since {lock.since.strftime(TIME)} UTC\n"
        f"  Last renewal: {lock.alive.strftime(TIME)} UTC. {_SEEMS[life]}\n"
    )


def exported_view(export: Export, output: Path) -> View:
    """Say what was written where."""
    document = documents.Exported(**_summary(export), written=str(output))
    return _line(f"Wrote {output}: {contents_text(export)}.", document)


def imported_view(imported: Imported, file: Path) -> View:
    """Say what was imported, and where the replaced state was saved."""
    kept = imported.kept
    saved = f" The previous state was saved in {kept}." if kept else ""
    document = documents.Imported(**_summary(imported.export), imported=str(file), kept=str(kept) if kept else None)
    return _line(f"Imported {file}.{saved}", document)


def forgotten_view(gone: Mapping[Address, ResourceState]) -> View:
    """Say how many resources were removed from the state."""
    places = [documents.ResourcePlace(address=address, host=entry.resource.host) for address, entry in gone.items()]
    text = f"Removed {plural(len(gone), 'resource')} from the state. No host was contacted."
    return _line(text, documents.Forgotten(forgotten=places))


def forget_warnings(found: Iterable[ResourceState]) -> str:
    """Return a line for each resource that is about to be removed from the state."""
    return "".join(
        f"{entry.resource.address} ({entry.status}) will be removed from the state; what is on "
        f"{entry.resource.host} ({essence(entry.resource)}) stays\n"
        for entry in found
    )


def forget_host_warning(host: str, found: Collection[ResourceState], *, listed: bool) -> str:
    """Say what is given up on a host; `listed` is whether the cluster file has the host."""
    slices = {entry.resource.slice for entry in found if entry.resource.slice is not None}
    vms = sorted(
        {entry.resource.address.partition("/")[2] for entry in found if entry.resource.holds_data}, key=natural
    )
    lines = [f"{plural(len(found), 'resource')} of {plural(len(slices), 'slice')} on {host} will leave the state."]
    if vms:
        lines.append(f"{losses_text(len(vms))}: {', '.join(vms)}.")
    if listed:
        lines.append(f"{host} is still in the cluster file: remove it there, or the next apply uses it again.")
    return "".join(f"{line}\n" for line in lines)


def import_warning(export: Export, file: Path) -> str:
    """Return the warning that precedes an import."""
    return f"{escape(str(file))} has {contents_text(export)}; it replaces this state.\n"


def contents_text(export: Export) -> str:
    """Return what an export holds, in one line."""
    counts = f"{plural(len(export.slices), 'slice')}, {plural(len(export.resources), 'resource')}"
    return f"cluster {export.cluster}, serial {export.serial}, {counts}, lineage {export.lineage or '(none)'}"


def _summary(export: Export) -> dict[str, Any]:
    return {"lineage": export.lineage, "serial": export.serial, "resources": len(export.resources)}


def _line(text: str, document: Document) -> View:
    return View(lambda: [f"{escape(text)}\n"], lambda: document)
