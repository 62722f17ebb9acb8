"""Formats a plan as JSON, in the shape `resource_changes[] {address, change {actions, ...}}` that many tools read."""

from __future__ import annotations

import json
from typing import Any

from reconciler.plan.model import Action, Change, Counts, Plan, Step
from reconciler.plan.resources import Resource, to_data
from reconciler.plan.snapshot import allocation_data
from reconciler.views.plan_text import summary

_ACTIONS = {
    Action.CREATE: ["create"],
    Action.UPDATE: ["update"],
    Action.DELETE: ["delete"],
    Action.REPLACE: ["delete", "create"],
}


def render_json(plan: Plan) -> str:
    """Return the plan as indented JSON, with a newline at the end; the same plan gives the same bytes."""
    return json.dumps(plan_data(plan), indent=2, ensure_ascii=False) + "\n"


def plan_data(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain data: format version first, then inputs, changes, steps and allocations."""
    return {
        "format_version": plan.format,
        "tool_version": plan.tool,
        "lineage": plan.lineage,
        "serial": plan.serial,
        "inputs": dict(plan.inputs),
        "slices": list(plan.slices),
        "summary": summary(plan),
        "counts": _counts(plan.counts),
        "resource_changes": [_change(change) for change in plan.changes],
        "disturbed": [{"address": item.address, "reason": item.reason} for item in plan.disturbed],
        "restart_pending": list(plan.restart_pending),
        "steps": [_step(step) for step in plan.steps],
        "allocations": {key: allocation_data(given) for key, given in plan.allocations.items()},
    }


def _counts(counts: Counts) -> dict[str, int]:
    return {
        "add": counts.add,
        "change": counts.change,
        "replace": counts.replace,
        "destroy": counts.destroy,
        "restarts": counts.restarts,
        "interrupted": counts.interrupted,
        "lost": counts.lost,
        "renamed": counts.renamed,
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "address": change.address,
        "type": change.subject.kind,
        "slice": change.subject.slice,
        "host": change.subject.host,
        "change": {
            "actions": _ACTIONS[change.action],
            "before": _resource(change.before),
            "after": _resource(change.after),
        },
        "reason": change.reason,
        "data_lost": change.data_lost,
        "attributes": [
            {"name": item.name, "before": item.before, "after": item.after, "policy": item.policy}
            for item in change.attributes
        ],
    }


def _resource(resource: Resource | None) -> dict[str, Any] | None:
    return None if resource is None else to_data(resource)


def _step(step: Step) -> dict[str, Any]:
    return {
        "id": step.id,
        "action": step.action,
        "address": step.address,
        "host": step.host,
        "needs": list(step.needs),
    }
