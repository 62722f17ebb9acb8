"""Formats what `state rebuild` finds and writes."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.plan.resources.base import kind_in
from reconciler.plan.resources.registry import KINDS
from reconciler.spec.quoting import escape, plural
from reconciler.views import state_documents as documents
from reconciler.views.tables import Table
from reconciler.views.view import Block, View
from reconciler.workflow.rebuild import Rebuilt
from reconciler.workflow.recovery import RecoveredSlice, Recovery


def found_blocks(found: Recovery) -> list[Block]:
    """Return what was found on the hosts, and what the state would have."""
    blocks: list[Block] = []
    if found.slices:
        blocks.append(Table([_row(each) for each in found.slices]))
    blocks.append("".join(f"{escape(line)}\n" for line in _remarks(found)))
    return blocks


def _row(each: RecoveredSlice) -> dict[str, object]:
    return {
        "slice": each.slice,
        "found": each.found,
        "missing": len(each.missing) or "-",
        "unknown": each.unknown or "-",
        "from": "the state" if each.saved is None else f"hosts, {each.saved[:16].replace('T', ' ')} UTC",
    }


def _remarks(found: Recovery) -> Iterator[str]:
    disks = [address for each in found.slices for address in each.missing if KINDS[kind_in(address)].holds_data]
    if not found.slices:
        yield "No slice was found: the hosts have no copy of one that exists."
    if disks:
        yield f"{plural(len(disks), 'disk')} missing, with their data: {', '.join(disks)}."
    for host, reason in sorted(found.unread.items()):
        yield f"{host} could not be read: {reason}. What only it has is not recovered."
    if found.gone:
        yield f"Left out, because nothing of them exists any more: {', '.join(found.gone)}."
    if found.clashing:
        yield f"Left out, because newer slices have the same numbers: {', '.join(found.clashing)}."
    if found.damaged:
        yield f"Copies that cannot be read: {', '.join(found.damaged)}."
    if found.others:
        yield f"Hosts that belong to another state will belong to this one (lineages {', '.join(found.others)})."
    if found.orphans:
        yield f"{plural(found.orphans, 'object')} on the hosts without a copy: `reconciler gc` lists them afterwards."


def nothing_view(found: Recovery) -> View:
    """Say that the state is as the hosts say."""
    return View(
        lambda: [*found_blocks(found), "Nothing to rebuild: the hosts know no more than the state.\n"],
        lambda: _document(found, rebuilt=False, kept=None),
    )


def rebuilt_view(done: Rebuilt) -> View:
    """Say that the state was written, and where the replaced one was saved."""
    kept = done.imported.kept
    return View(
        lambda: [_rebuilt_text(done)],
        lambda: _document(done.recovery, rebuilt=True, kept=None if kept is None else str(kept)),
    )


def _rebuilt_text(done: Rebuilt) -> str:
    export = done.recovery.export
    lines = [f"Rebuilt the state: {plural(len(export.slices), 'slice')}, {plural(len(export.resources), 'resource')}."]
    if done.imported.kept is not None:
        lines.append(f"The previous state was saved in {done.imported.kept}.")
    lines += [f"{host} was not told that it belongs to this state: {why}." for host, why in sorted(done.untold.items())]
    return "".join(f"{escape(line)}\n" for line in [*lines, "Compare it with the files: reconciler plan --refresh"])


def _document(found: Recovery, *, rebuilt: bool, kept: str | None) -> documents.Rebuild:
    return documents.Rebuild(
        rebuilt=rebuilt,
        lineage=found.export.lineage,
        serial=found.export.serial,
        slices=[
            documents.RebuiltSlice(
                slice=each.slice,
                found=each.found,
                missing=list(each.missing),
                unknown=each.unknown,
                saved=each.saved,
            )
            for each in found.slices
        ],
        gone=list(found.gone),
        clashing=list(found.clashing),
        taken_over=list(found.others),
        damaged_copies=list(found.damaged),
        orphans=found.orphans,
        unread=dict(found.unread),
        kept=kept,
    )
