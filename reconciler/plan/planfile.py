"""Writes plans as files with a digest, and reads them back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from reconciler.errors import PlanFileError
from reconciler.plan.model import Action, AttributeChange, Change, Counts, Disturbance, Plan, Step
from reconciler.plan.renames import Rename
from reconciler.plan.resources import Resource, from_data, to_data
from reconciler.plan.snapshot import Counters, allocation_data, allocation_from_data
from reconciler.spec.models.fields import UpdatePolicy

FORMAT = 3
"""The version of the file format. A reader refuses newer ones."""

MARK = "reconciler_plan"
"""The first key of the text, which distinguishes a saved plan from other files. Its value is the format."""

_SEAL = "digest"
_AGAIN = "make the plan again; this file was edited or is incomplete"


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan, with the paths of its cluster file and its slice files. Other inputs are files that these refer to."""

    plan: Plan
    cluster: str
    slices: tuple[str, ...] = ()


def is_plan(beginning: str) -> bool:
    """Whether a text that begins like this was written by `write_plan`, even if it is damaged later on."""
    return beginning.lstrip().removeprefix("{").lstrip().startswith(f'"{MARK}"')


def write_plan(saved: SavedPlan) -> str:
    """Write a plan as JSON, with a newline at the end. The same plan gives the same text."""
    data = {MARK: FORMAT, "cluster": saved.cluster, "slice_files": list(saved.slices)} | _data(saved.plan)
    return json.dumps(data | {_SEAL: _digest(data)}, indent=1, ensure_ascii=False) + "\n"


def plan_digest(plan: Plan) -> str:
    """Return the SHA-256 of a plan's content, in hexadecimal. An approval and the history name the plan by it."""
    return _sha256(_data(plan))


def read_plan(text: str, name: str) -> SavedPlan:
    """Read what `write_plan` wrote; `name` is the file's, for messages.

    Raises PlanFileError for a plan that was edited or truncated, for another format, and for any other text.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlanFileError(f"{name} is damaged: it is not valid JSON, or is truncated", hint=_AGAIN) from error
    if not isinstance(data, dict) or MARK not in data:
        raise PlanFileError(f"{name} is not a saved plan", hint="`reconciler plan -o FILE` writes one")
    if data[MARK] != FORMAT:
        raise PlanFileError(
            f"{name} was saved by another version (its format is {data[MARK]!r}, this version reads {FORMAT})",
            hint="use the version of topology-reconciler that saved it, or make the plan again",
        )
    if data.pop(_SEAL, None) != _digest(data):
        raise PlanFileError(f"{name} is damaged: its digest does not match its content", hint=_AGAIN)
    try:
        return SavedPlan(_plan(data), data["cluster"], tuple(data["slice_files"]))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise PlanFileError(f"{name} is damaged: its content cannot be read", hint=_AGAIN) from error


def _data(plan: Plan) -> dict[str, Any]:
    return {
        "format": plan.format,
        "tool": plan.tool,
        "lineage": plan.lineage,
        "serial": plan.serial,
        "inputs": dict(plan.inputs),
        "slices": list(plan.slices),
        "counts": asdict(plan.counts),
        "counters": asdict(plan.counters),
        "allocations": {key: allocation_data(given) for key, given in plan.allocations.items()},
        "changes": [_change_data(change) for change in plan.changes],
        "disturbed": [asdict(item) for item in plan.disturbed],
        "steps": [_step_data(step) for step in plan.steps],
        "renames": [asdict(rename) for rename in plan.renames],
    } | ({"restart_pending": list(plan.restart_pending)} if plan.restart_pending else {})


def _plan(data: Mapping[str, Any]) -> Plan:
    return Plan(
        tool=data["tool"],
        lineage=data["lineage"],
        serial=data["serial"],
        slices=tuple(data["slices"]),
        changes=tuple(_change(item) for item in data["changes"]),
        steps=tuple(_step(item) for item in data["steps"]),
        counts=Counts(**data["counts"]),
        counters=Counters(**data["counters"]),
        allocations={key: allocation_from_data(given) for key, given in data["allocations"].items()},
        disturbed=tuple(Disturbance(**item) for item in data["disturbed"]),
        renames=tuple(_rename(item) for item in data["renames"]),
        inputs=dict(data["inputs"]),
        format=data["format"],
        restart_pending=tuple(data.get("restart_pending", ())),
    )


def _rename(data: Mapping[str, Any]) -> Rename:
    return Rename(data["former"], data["key"], tuple((former, name) for former, name in data["vms"]))


def _change_data(change: Change) -> dict[str, Any]:
    return {
        "action": change.action,
        "address": change.address,
        "reason": change.reason,
        "before": _resource_data(change.before),
        "after": _resource_data(change.after),
        "attributes": [asdict(item) for item in change.attributes],
        "data_lost": change.data_lost,
    } | ({} if change.leftover is None else {"leftover": to_data(change.leftover)})


def _change(data: Mapping[str, Any]) -> Change:
    attributes = (item | {"policy": UpdatePolicy(item["policy"])} for item in data["attributes"])
    return Change(
        action=Action(data["action"]),
        address=data["address"],
        before=_resource(data["before"]),
        after=_resource(data["after"]),
        reason=data["reason"],
        attributes=tuple(AttributeChange(**item) for item in attributes),
        data_lost=data["data_lost"],
        leftover=_resource(data.get("leftover")),
    )


def _step_data(step: Step) -> dict[str, Any]:
    return {
        "id": step.id,
        "action": step.action,
        "address": step.address,
        "host": step.host,
        "needs": list(step.needs),
        "before": _resource_data(step.before),
        "after": _resource_data(step.after),
    }


def _step(data: Mapping[str, Any]) -> Step:
    return Step(
        id=data["id"],
        action=Action(data["action"]),
        address=data["address"],
        host=data["host"],
        before=_resource(data["before"]),
        after=_resource(data["after"]),
        needs=tuple(data["needs"]),
    )


def _resource_data(resource: Resource | None) -> dict[str, Any] | None:
    return None if resource is None else to_data(resource)


def _resource(data: Mapping[str, Any] | None) -> Resource | None:
    return None if data is None else from_data(data)


def _digest(data: Mapping[str, Any]) -> str:
    return f"sha256:{_sha256(data)}"


def _sha256(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
