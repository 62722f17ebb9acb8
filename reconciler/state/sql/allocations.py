"""Stores allocations and the claims on their numbers: given when an apply begins, freed when nothing uses them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, exists, insert, select, true, update
from sqlalchemy.exc import IntegrityError

from reconciler.plan.model import Plan
from reconciler.plan.snapshot import Claim, claims
from reconciler.spec.models.names import SliceKey
from reconciler.state import refusals, staleness
from reconciler.state.chunks import chunks
from reconciler.state.rows import held_claims
from reconciler.state.sql import schema

_SLICES, _ALLOCATIONS, _CLAIMS, _RESOURCES = schema.slices, schema.allocations, schema.claims, schema.resources


def check(connection: Connection, meta: Row[Any], plan: Plan) -> None:
    """Raise StateMoved where a plan is stale: where what it was made from has changed since."""
    known = dict(moved(connection, staleness.concerned(plan)))
    staleness.check(meta, plan, known, lambda: _documents(connection, plan.slices))


def give(connection: Connection, plan: Plan, serial: int) -> bool:
    """Write a plan's allocations, and claim their numbers beside those that their slices had; True if any changed.

    Raises StateError where two slices claim the same.
    """
    given = staleness.changed_allocations(plan, _documents(connection, plan.slices))
    _enter(connection, plan, serial)
    if not given:
        return False
    taken = _taken(given, plan)
    kept = _claimed(connection, given)
    rows = [_claim(claim, key, held=False) for claim, key in taken.items()]
    rows += [_claim(claim, key, held=True) for claim, key in kept.items() if taken.get(claim) != key]
    for table, column in ((_CLAIMS, _CLAIMS.c.slice), (_ALLOCATIONS, _ALLOCATIONS.c.slice)):
        connection.execute(delete(table).where(column == bindparam("b_slice")), [{"b_slice": key} for key in given])
    documents = [{"slice": key, "document": document} for key, document in given.items()]
    connection.execute(insert(_ALLOCATIONS), documents)
    _insert_claims(connection, rows)
    return True


def free(connection: Connection, keys: Collection[SliceKey]) -> bool:
    """Free what nothing uses any more: held claims of these slices, and slices that leave; True if any slice left."""
    left = False
    due = exists().where(_RESOURCES.c.slice == _CLAIMS.c.slice, _RESOURCES.c.due == true())
    remaining = exists().where(_RESOURCES.c.slice == _SLICES.c.key)
    for some in chunks(keys):
        connection.execute(delete(_CLAIMS).where(_CLAIMS.c.held == true(), _CLAIMS.c.slice.in_(some), ~due))
        gone = delete(_SLICES).where(_SLICES.c.leaving == true(), _SLICES.c.key.in_(some), ~remaining)
        left = connection.execute(gone).rowcount > 0 or left
    return left


def touch(connection: Connection, keys: Collection[str], serial: int) -> None:
    """Write that slices changed at this serial."""
    for some in chunks(keys):
        connection.execute(update(_SLICES).where(_SLICES.c.key.in_(some)).values(moved=serial))


def moved(connection: Connection, keys: Collection[SliceKey]) -> Iterator[tuple[SliceKey, int]]:
    """Yield those of these slices that the state has, with the serial at which each last changed."""
    for some in chunks(keys):
        query = select(_SLICES.c.key, _SLICES.c.moved).where(_SLICES.c.key.in_(some))
        for row in connection.execute(query):
            yield row.key, row.moved


def held(connection: Connection) -> Mapping[SliceKey, frozenset[Claim]]:
    """Return the claims that are in no allocation, but not free yet, by slice."""
    columns = (_CLAIMS.c.slice, _CLAIMS.c.kind, _CLAIMS.c.scope, _CLAIMS.c.value)
    return held_claims(tuple(row) for row in connection.execute(select(*columns).where(_CLAIMS.c.held == true())))


def _documents(connection: Connection, keys: Collection[SliceKey]) -> dict[SliceKey, str]:
    """Return the documents of these slices' allocations, as they are in the state."""
    found: dict[SliceKey, str] = {}
    for some in chunks(keys):
        selected = connection.execute(select(_ALLOCATIONS).where(_ALLOCATIONS.c.slice.in_(some)))
        found.update((row.slice, row.document) for row in selected)
    return found


def _enter(connection: Connection, plan: Plan, serial: int) -> None:
    """Add the slices in scope to the state, as changed now; those without an allocation are leaving."""
    existing = {key for key, _ in moved(connection, plan.slices)}
    rows = [{"b_key": key, "b_leaving": key not in plan.allocations} for key in sorted(set(plan.slices))]
    values = {"moved": serial, "leaving": bindparam("b_leaving")}
    known = [row for row in rows if row["b_key"] in existing]
    new = [row for row in rows if row["b_key"] not in existing]
    if known:
        connection.execute(update(_SLICES).where(_SLICES.c.key == bindparam("b_key")).values(values), known)
    if new:
        connection.execute(insert(_SLICES).values({"key": bindparam("b_key"), **values}), new)


def _taken(given: Mapping[SliceKey, str], plan: Plan) -> dict[Claim, SliceKey]:
    taken: dict[Claim, SliceKey] = {}
    for key in given:
        for claim in claims(key, plan.allocations[key]):
            if claim in taken:
                raise refusals.claimed_twice(claim, taken[claim], key)
            taken[claim] = key
    return taken


def _claimed(connection: Connection, keys: Collection[SliceKey]) -> dict[Claim, SliceKey]:
    found: dict[Claim, SliceKey] = {}
    for some in chunks(keys):
        for row in connection.execute(select(_CLAIMS).where(_CLAIMS.c.slice.in_(some))):
            found[Claim(row.kind, row.scope, row.value)] = row.slice
    return found


def _insert_claims(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert claims; raises StateError, naming the slice that has it, where one is taken."""
    try:
        with connection.begin_nested():
            connection.execute(insert(_CLAIMS), list(rows))
    except IntegrityError as error:
        taken = {Claim(row.kind, row.scope, row.value): row.slice for row in connection.execute(select(_CLAIMS))}
        for row in rows:
            claim = Claim(row["kind"], row["scope"], row["value"])
            if claim in taken:
                raise refusals.claimed_twice(claim, taken[claim], row["slice"]) from error
        raise


def _claim(claim: Claim, key: SliceKey, *, held: bool) -> dict[str, Any]:
    return {**claim._asdict(), "slice": key, "held": held}
