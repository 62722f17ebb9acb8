"""Numbers given out: allocations and claims as rows, given when an apply begins and freed when nothing uses them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, exists, insert, select, true, update
from sqlalchemy.exc import IntegrityError

from reconciler.errors import StateError, StateMoved
from reconciler.plan.model import Plan
from reconciler.plan.snapshot import Claim, claims
from reconciler.spec.models.names import SliceKey
from reconciler.state.sql import schema
from reconciler.state.sql.codec import encode_allocation

_SLICES, _ALLOCATIONS, _CLAIMS, _RESOURCES = schema.slices, schema.allocations, schema.claims, schema.resources

CHUNK = 500
"""How many keys one query names; both databases bound the parameters of a query."""


def check(connection: Connection, meta: Row[Any], plan: Plan) -> None:
    """Raise StateMoved where what a plan was made from has changed since; the sentence says what.

    What one slice's plan was made from: the slice itself, what slices share, and, where it gives out numbers, every
    slice's. So plans of different slices that give out none may be applied in any order.
    """
    if meta.serial == 0 and plan.lineage == "":
        return  # planned where no record was yet, and this one is still as new
    if plan.lineage != meta.lineage:
        raise StateMoved(
            "the plan was made from another record "
            f"(its lineage is {plan.lineage or 'of none'}, this one's {meta.lineage})",
            hint="plan again with this record",
        )
    if plan.serial > meta.serial:
        raise _moved(f"the record is older than the plan (serial {meta.serial}, the plan's {plan.serial})")
    moved = dict(_moments(connection, plan.slices))
    for key in plan.slices:
        if moved.get(key, meta.given_moved) > plan.serial:
            raise _moved(f"{key} has changed since the plan was made")
    if meta.shared_moved > plan.serial:
        raise _moved("what slices share has changed since the plan was made")
    if meta.given_moved > plan.serial and _given(connection, plan):
        raise _moved("numbers have been given out since the plan was made")


def give(connection: Connection, plan: Plan, serial: int) -> bool:
    """Write a plan's allocations, and take what they claim beside what their slices had; says whether any changed.

    Raises StateError where two slices claim the same.
    """
    given = _given(connection, plan)
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
    """Free what nothing stands on any more: held claims of these slices, and leaving slices; says whether any left."""
    left = False
    due = exists().where(_RESOURCES.c.slice == _CLAIMS.c.slice, _RESOURCES.c.due == true())
    stands = exists().where(_RESOURCES.c.slice == _SLICES.c.key)
    for some in chunks(keys):
        connection.execute(delete(_CLAIMS).where(_CLAIMS.c.held == true(), _CLAIMS.c.slice.in_(some), ~due))
        gone = delete(_SLICES).where(_SLICES.c.leaving == true(), _SLICES.c.key.in_(some), ~stands)
        left = connection.execute(gone).rowcount > 0 or left
    return left


def touch(connection: Connection, keys: Collection[str], serial: int) -> None:
    """Write that slices changed at this serial."""
    for some in chunks(keys):
        connection.execute(update(_SLICES).where(_SLICES.c.key.in_(some)).values(moved=serial))


def held(connection: Connection) -> Mapping[SliceKey, frozenset[Claim]]:
    """Return the claims that no allocation has any more, but that are not free, by slice."""
    columns = (_CLAIMS.c.slice, _CLAIMS.c.kind, _CLAIMS.c.scope, _CLAIMS.c.value)
    found: dict[SliceKey, set[Claim]] = {}
    for key, *claim in connection.execute(select(*columns).where(_CLAIMS.c.held == true())):
        found.setdefault(key, set()).add(Claim(*claim))
    return {key: frozenset(found[key]) for key in sorted(found)}


def chunks(keys: Iterable[str]) -> Iterator[Sequence[str]]:
    """Yield keys in portions that one query can name, each key once and in order."""
    ordered = sorted(set(keys))
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


def _moments(connection: Connection, keys: Collection[SliceKey]) -> Iterator[tuple[SliceKey, int]]:
    for some in chunks(keys):
        query = select(_SLICES.c.key, _SLICES.c.moved).where(_SLICES.c.key.in_(some))
        for row in connection.execute(query):
            yield row.key, row.moved


def _given(connection: Connection, plan: Plan) -> dict[SliceKey, str]:
    """Return the documents of the allocations in a plan's scope that are not as recorded."""
    recorded: dict[SliceKey, str] = {}
    for some in chunks(plan.slices):
        rows = connection.execute(select(_ALLOCATIONS).where(_ALLOCATIONS.c.slice.in_(some)))
        recorded.update((row.slice, row.document) for row in rows)
    wanted = {key: encode_allocation(plan.allocations[key]) for key in plan.slices if key in plan.allocations}
    return {key: document for key, document in sorted(wanted.items()) if recorded.get(key) != document}


def _enter(connection: Connection, plan: Plan, serial: int) -> None:
    """Bring the slices in scope into the record, as changed now; those without an allocation are leaving."""
    standing = {key for key, _ in _moments(connection, plan.slices)}
    rows = [{"b_key": key, "b_leaving": key not in plan.allocations} for key in sorted(set(plan.slices))]
    values = {"moved": serial, "leaving": bindparam("b_leaving")}
    known = [row for row in rows if row["b_key"] in standing]
    new = [row for row in rows if row["b_key"] not in standing]
    if known:
        connection.execute(update(_SLICES).where(_SLICES.c.key == bindparam("b_key")).values(values), known)
    if new:
        connection.execute(insert(_SLICES).values({"key": bindparam("b_key"), **values}), new)


def _taken(given: Mapping[SliceKey, str], plan: Plan) -> dict[Claim, SliceKey]:
    taken: dict[Claim, SliceKey] = {}
    for key in given:
        for claim in claims(key, plan.allocations[key]):
            if claim in taken:
                raise _at_odds(claim, taken[claim], key)
            taken[claim] = key
    return taken


def _claimed(connection: Connection, keys: Collection[SliceKey]) -> dict[Claim, SliceKey]:
    found: dict[Claim, SliceKey] = {}
    for some in chunks(keys):
        for row in connection.execute(select(_CLAIMS).where(_CLAIMS.c.slice.in_(some))):
            found[Claim(row.kind, row.scope, row.value)] = row.slice
    return found


def _insert_claims(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert claims; where one is taken, say by whom."""
    try:
        with connection.begin_nested():
            connection.execute(insert(_CLAIMS), list(rows))
    except IntegrityError as error:
        taken = {Claim(row.kind, row.scope, row.value): row.slice for row in connection.execute(select(_CLAIMS))}
        for row in rows:
            claim = Claim(row["kind"], row["scope"], row["value"])
            if claim in taken:
                raise _at_odds(claim, taken[claim], row["slice"]) from error
        raise


def _claim(claim: Claim, key: SliceKey, *, held: bool) -> dict[str, Any]:
    return {**claim._asdict(), "slice": key, "held": held}


def _at_odds(claim: Claim, one: str, other: str) -> StateError:
    where = f" on {claim.scope}" if claim.scope else ""
    return StateError(
        f"{claim.kind} {claim.value}{where} is taken by {one}, and {other} claims it too",
        hint="plan again; what is removed becomes free once it is confirmed gone",
    )


def _moved(what: str) -> StateMoved:
    return StateMoved(what, hint="plan again, and look at what has changed")
