"""Gives slices and VMs their new names everywhere in the state, in the transaction that opens an apply."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from reconciler.plan.renames import Rename, renamed_allocation, renamed_claim, renamed_entry
from reconciler.plan.snapshot import Claim
from reconciler.state.codec import decode_allocation, encode_allocation, encode_resource
from reconciler.state.rows import resource_state
from reconciler.state.sql import schema

_SLICES, _ALLOCATIONS, _CLAIMS, _RESOURCES = schema.slices, schema.allocations, schema.claims, schema.resources


def rename(connection: Connection, change: Rename) -> None:
    """Rename a slice with its numbers, claims and resources; raises ValueError, KeyError or TypeError if damaged."""
    _enter(connection, change)
    query = select(_ALLOCATIONS.c.document).where(_ALLOCATIONS.c.slice == change.former)
    allocation = renamed_allocation(decode_allocation(connection.execute(query).scalar_one()), change)
    values = {"slice": change.key, "document": encode_allocation(allocation)}
    connection.execute(update(_ALLOCATIONS).where(_ALLOCATIONS.c.slice == change.former).values(values))
    _rename_claims(connection, change)
    _rename_resources(connection, change)
    if change.key != change.former:
        connection.execute(delete(_SLICES).where(_SLICES.c.key == change.former))


def _enter(connection: Connection, change: Rename) -> None:
    """Add the slice under its new key, unless a destroy that was cut short has left that."""
    if not connection.execute(select(_SLICES.c.key).where(_SLICES.c.key == change.key)).first():
        former = select(_SLICES.c.moved, _SLICES.c.leaving).where(_SLICES.c.key == change.former)
        row = connection.execute(former).one()
        connection.execute(insert(_SLICES).values(key=change.key, moved=row.moved, leaving=row.leaving))


def _rename_claims(connection: Connection, change: Rename) -> None:
    for row in connection.execute(select(_CLAIMS).where(_CLAIMS.c.slice == change.former)).all():
        claim = Claim(row.kind, row.scope, row.value)
        this = (_CLAIMS.c.kind == row.kind, _CLAIMS.c.scope == row.scope, _CLAIMS.c.value == row.value)
        scope = renamed_claim(claim, change).scope
        connection.execute(update(_CLAIMS).where(*this).values(slice=change.key, scope=scope))


def _rename_resources(connection: Connection, change: Rename) -> None:
    """Write the resources again: those whose names swap would otherwise be in each other's way."""
    rows: list[dict[str, Any]] = []
    found = connection.execute(select(_RESOURCES).where(_RESOURCES.c.slice == change.former)).all()
    for row in found:
        entry = renamed_entry(resource_state(row.status, row.attributes, row.pending), change)
        rows.append(
            {
                **row._mapping,  # noqa: SLF001 - the columns of a row, by name
                "address": entry.resource.address,
                "slice": change.key,
                "attributes": encode_resource(entry.resource),
                "pending": None if entry.pending is None else encode_resource(entry.pending),
            }
        )
    if rows:
        this = delete(_RESOURCES).where(_RESOURCES.c.address == bindparam("b_address"))
        connection.execute(this, [{"b_address": row.address} for row in found])
        connection.execute(insert(_RESOURCES), rows)
