"""Stores the status of resources: before a step is attempted, and after it ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Executable, Update, bindparam, delete, false, insert, null, or_, select, true, update

from reconciler.plan.model import Action, Plan, Step
from reconciler.plan.resources import Resource
from reconciler.plan.results import StepResult, StepStatus
from reconciler.plan.snapshot import ResourceState, Status
from reconciler.spec.models.names import Address, SliceKey
from reconciler.state.chunks import CHUNK, chunks
from reconciler.state.codec import encode_resource
from reconciler.state.rows import resource_state
from reconciler.state.sql import schema
from reconciler.state.status import deletes_leftover, state_once_done, status_after

_ROWS = schema.resources
_THIS = _ROWS.c.address == bindparam("b_address")


def expect(connection: Connection, plan: Plan) -> None:
    """Mark as due what a plan is yet to change or delete, and what an earlier apply in its scope left unfinished."""
    for some in chunks(plan.slices):
        unfinished = _ROWS.c.status != Status.PRESENT.value
        connection.execute(update(_ROWS).where(_ROWS.c.slice.in_(some)).values(due=unfinished))
    _each(connection, _set(due=true()), [{"b_address": step.address} for step in plan.steps])


def intend(connection: Connection, steps: Sequence[Step]) -> None:
    """Write the status of resources once these steps may have begun."""
    known = dict(_known(connection, [step.address for step in steps]))
    new: list[dict[str, Any]] = []
    leaving: list[dict[str, Any]] = []
    changing: list[dict[str, Any]] = []
    for step in steps:
        if step.action is Action.CREATE or step.address not in known:
            new.append(_attempted(step, due=step.address in known and known[step.address].due))
        elif deletes_leftover(step, known[step.address].host):
            continue
        elif step.action is Action.DELETE:
            leaving.append({"b_address": step.address})
        else:
            changing.append({"b_address": step.address, "b_pending": _text(step.after)})
    _put(connection, new)
    _each(connection, _set(status=Status.DELETING.value), leaving)
    _each(connection, _set(status=Status.UNKNOWN.value, pending=bindparam("b_pending")), changing)


def record(connection: Connection, results: Iterable[StepResult]) -> None:
    """Write the status of resources after these steps; of two steps with one address, the later one counts."""
    last = {result.step.address: result for result in results}
    deleted = [where for where, result in last.items() if result.step.action is Action.DELETE]
    known = dict(_known(connection, deleted))
    gone: list[dict[str, Any]] = []
    done: list[dict[str, Any]] = []
    other: list[dict[str, Any]] = []
    cleared: list[dict[str, Any]] = []
    for where, result in last.items():
        address = {"b_address": where}
        status = status_after(result)
        if where in known and deletes_leftover(result.step, known[where].host):
            cleared += [address] if result.status is StepStatus.DONE else []
        elif status is None:
            gone.append(address)
        elif status is Status.PRESENT:
            now = state_once_done(result.step)
            done.append(_row(now.resource, now.status, now.pending, due=result.step.moves))
        else:
            other.append({**address, "b_status": status.value})
    _put(connection, done)
    _each(connection, delete(_ROWS).where(_THIS), gone)
    _each(connection, _set(status=bindparam("b_status")), other)
    _each(connection, _set(status=Status.PRESENT.value, pending=null(), due=false()), cleared)


def forget(connection: Connection, addresses: Collection[Address]) -> dict[Address, ResourceState]:
    """Remove resources from the state, and return what it said of them; addresses that are not in it are ignored."""
    found: dict[Address, ResourceState] = {}
    for some in chunks(addresses):
        rows = connection.execute(select(_ROWS).where(_ROWS.c.address.in_(some)).order_by(_ROWS.c.address))
        found.update((row.address, resource_state(row.status, row.attributes, row.pending)) for row in rows)
        connection.execute(delete(_ROWS).where(_ROWS.c.address.in_(some)))
    return found


def read(connection: Connection, scope: Collection[SliceKey] | None) -> Iterator[tuple[Address, ResourceState]]:
    """Yield the resources of the slices in scope (None: of all) and of what slices share, by address.

    Raises ValueError, KeyError or TypeError for a row of another format.
    """
    query = select(_ROWS.c.address, _ROWS.c.slice, _ROWS.c.status, _ROWS.c.attributes, _ROWS.c.pending)
    if scope is not None and len(scope) <= CHUNK:
        shared = _ROWS.c.slice.is_(None)
        query = query.where(or_(_ROWS.c.slice.in_(sorted(scope)), shared) if scope else shared)
    wanted = None if scope is None else frozenset(scope)
    for row in connection.execute(query.order_by(_ROWS.c.address)):
        if wanted is None or row.slice is None or row.slice in wanted:
            yield row.address, resource_state(row.status, row.attributes, row.pending)


class _Known(NamedTuple):
    """Where the state has a resource, and whether a plan is yet to change it."""

    host: str
    due: bool


def _known(connection: Connection, addresses: Sequence[Address]) -> Iterator[tuple[Address, _Known]]:
    columns = (_ROWS.c.address, _ROWS.c.host, _ROWS.c.due)
    for some in chunks(addresses):
        for row in connection.execute(select(*columns).where(_ROWS.c.address.in_(some))):
            yield row.address, _Known(row.host, row.due)


def _attempted(step: Step, *, due: bool) -> dict[str, Any]:
    """Return the row of a resource that is not in the state, or that is to be created again."""
    match step.action:
        case Action.CREATE:
            return _row(step.subject, Status.CREATING, None, due=due)
        case Action.DELETE:
            return _row(step.subject, Status.DELETING, None, due=True)
        case Action.UPDATE | Action.REPLACE:
            return _row(step.before or step.subject, Status.UNKNOWN, step.after, due=True)


def _row(resource: Resource, status: Status, pending: Resource | None, *, due: bool) -> dict[str, Any]:
    return {
        "address": resource.address,
        "kind": resource.kind,
        "slice": resource.slice,
        "host": resource.host,
        "status": status.value,
        "attributes": encode_resource(resource),
        "pending": _text(pending),
        "due": due,
    }


def _set(**values: Any) -> Update:
    return update(_ROWS).where(_THIS).values(values)


def _put(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write whole rows, replacing any there are."""
    _each(connection, delete(_ROWS).where(_THIS), [{"b_address": row["address"]} for row in rows])
    _each(connection, insert(_ROWS), rows)


def _each(connection: Connection, statement: Executable, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(statement, list(rows))


def _text(resource: Resource | None) -> str | None:
    return None if resource is None else encode_resource(resource)
