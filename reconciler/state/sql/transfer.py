"""Reads a whole state from the database, and replaces it by another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, insert, select, update

from reconciler.errors import StateError
from reconciler.plan.resources import from_data
from reconciler.plan.snapshot import Claim, Status
from reconciler.spec.models.names import SliceKey
from reconciler.state.codec import encode_names, encode_resource
from reconciler.state.export import (
    Export,
    ExportedApply,
    ExportedCordon,
    ExportedCounters,
    ExportedOrphan,
    ExportedResource,
    ExportedSlice,
    ExportedStep,
    claimed,
)
from reconciler.state.sql import allocations, cordons, schema
from reconciler.state.store import Verb

_APPLY = ("id", "user", "host", "pid", "started", "finished", "result", "digest", "done", "failed", "skipped")
_STEP = tuple(ExportedStep.model_fields)
_COUNTERS = tuple(ExportedCounters.model_fields)
_ORPHAN = tuple(ExportedOrphan.model_fields)
_ROWS = (
    schema.cordons,
    schema.orphans,
    schema.journal,
    schema.applies,
    schema.resources,
    schema.claims,
    schema.allocations,
    schema.slices,
)
"""Every table that an import fills, those with foreign keys first."""


def read(connection: Connection, meta: Row[Any]) -> Export:
    """Return the whole state; raises ValueError, KeyError or TypeError for a row of another format."""
    return Export(
        cluster=meta.cluster,
        lineage=meta.lineage,
        serial=meta.serial,
        shared_moved=meta.shared_moved,
        given_moved=meta.given_moved,
        counters=ExportedCounters(**{name: getattr(meta, name) for name in _COUNTERS}),
        slices=tuple(_slices(connection)),
        resources=tuple(_resources(connection)),
        history=tuple(_history(connection)),
        orphans=tuple(_orphans(connection)),
        cordons=tuple(
            ExportedCordon(host=host, user=cordon.user, since=datetime.fromisoformat(cordon.since))
            for host, cordon in cordons.read(connection).items()
        ),
    )


def check(meta: Row[Any], export: Export, *, older: bool = False) -> None:
    """Raise StateError where the exported state may not replace this one; it may always replace an empty one."""
    if export.cluster != meta.cluster:
        raise StateError(
            f"the exported state is of cluster {export.cluster}, not of {meta.cluster}",
            hint="name that cluster's file with --cluster",
        )
    if meta.serial == 0:
        return
    if export.lineage != meta.lineage:
        raise StateError(
            f"the exported state is another one (its lineage is {export.lineage}, this one's {meta.lineage})",
            hint="import it into an empty state: name its place with --state",
        )
    if export.serial < meta.serial and not older:
        raise StateError(
            f"the exported state is older (its serial is {export.serial}, this one's {meta.serial})",
            hint="what was done since would be lost; to inspect it, import it into an empty state with --state",
        )


def write(connection: Connection, meta: Row[Any], export: Export) -> None:
    """Replace this state by an exported one; fencing tokens never go back."""
    for table in _ROWS:
        connection.execute(delete(table))
    counters = export.counters.model_dump() | {"token": max(export.counters.token, meta.token)}
    marks = {name: getattr(export, name) for name in ("lineage", "serial", "shared_moved", "given_moved")}
    connection.execute(update(schema.meta).values(marks | counters))
    slices = [{"key": entry.key, "moved": entry.moved, "leaving": entry.leaving} for entry in export.slices]
    _insert(connection, schema.slices, slices)
    documents = [
        {"slice": entry.key, "document": _compact(entry.allocation)}
        for entry in export.slices
        if entry.allocation is not None
    ]
    _insert(connection, schema.allocations, documents)
    taken = claimed(export).items()
    rows = [claim._asdict() | {"slice": key, "held": held} for claim, (key, held) in taken]
    _insert(connection, schema.claims, rows)
    _insert(connection, schema.resources, [_resource_row(entry) for entry in export.resources])
    _insert(connection, schema.applies, [_apply_row(entry) for entry in export.history])
    _insert(connection, schema.orphans, [entry.model_dump() for entry in export.orphans])
    _insert(connection, schema.cordons, [entry.model_dump() for entry in export.cordons])
    _insert(connection, schema.journal, [_step_row(each, step) for each in export.history for step in each.journal])


def _slices(connection: Connection) -> Iterator[ExportedSlice]:
    """Yield the slices by key, in Python's order: databases sort differently."""
    documents = {row.slice: row.document for row in connection.execute(select(schema.allocations))}
    held: Mapping[SliceKey, frozenset[Claim]] = allocations.held(connection)
    for row in sorted(connection.execute(select(schema.slices)), key=attrgetter("key")):
        document = documents.get(row.key)
        yield ExportedSlice(
            key=row.key,
            moved=row.moved,
            leaving=row.leaving,
            allocation=None if document is None else json.loads(document),
            held=tuple(sorted(held.get(row.key, ()))),
        )


def _resources(connection: Connection) -> Iterator[ExportedResource]:
    for row in sorted(connection.execute(select(schema.resources)), key=attrgetter("address")):
        yield ExportedResource(
            status=Status(row.status),
            due=row.due,
            resource=json.loads(row.attributes),
            pending=None if row.pending is None else json.loads(row.pending),
        )


def _history(connection: Connection) -> Iterator[ExportedApply]:
    steps: dict[int, list[ExportedStep]] = {}
    for row in connection.execute(select(schema.journal).order_by(schema.journal.c.id)):
        steps.setdefault(row.apply, []).append(ExportedStep(**{name: getattr(row, name) for name in _STEP}))
    for row in connection.execute(select(schema.applies).order_by(schema.applies.c.id)):
        yield ExportedApply(
            **{name: getattr(row, name) for name in _APPLY},
            slices=tuple(json.loads(row.slices)),
            verb=Verb(row.verb),
            journal=tuple(steps.get(row.id, ())),
        )


def _orphans(connection: Connection) -> Iterator[ExportedOrphan]:
    rows = connection.execute(select(schema.orphans))
    for row in sorted(rows, key=attrgetter("host", "address", "fingerprint")):
        yield ExportedOrphan(**{name: getattr(row, name) for name in _ORPHAN})


def _resource_row(entry: ExportedResource) -> dict[str, Any]:
    resource = from_data(entry.resource)
    return {
        "address": resource.address,
        "kind": resource.kind,
        "slice": resource.slice,
        "host": resource.host,
        "status": entry.status.value,
        "attributes": encode_resource(resource),
        "pending": None if entry.pending is None else encode_resource(from_data(entry.pending)),
        "due": entry.due,
    }


def _apply_row(entry: ExportedApply) -> dict[str, Any]:
    values = {name: getattr(entry, name) for name in _APPLY}
    return values | {"slices": encode_names(entry.slices), "verb": entry.verb.value}


def _step_row(entry: ExportedApply, step: ExportedStep) -> dict[str, Any]:
    return {name: getattr(step, name) for name in _STEP} | {"apply": entry.id}


def _insert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), list(rows))


def _compact(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), sort_keys=True)
