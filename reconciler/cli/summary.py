"""What came of an apply, in words and as data: done, failed, skipped, each with the host's own words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.plan.model import Action, Plan, Step

if TYPE_CHECKING:
    from reconciler.apply.events import Report
    from reconciler.workflow import Applied

_VERBS = {Action.CREATE: "added", Action.UPDATE: "changed", Action.REPLACE: "replaced", Action.DELETE: "destroyed"}


def report_text(plan: Plan, report: Report) -> str:
    """Return the closing lines of an apply, ending with a newline: every trouble, then one line that counts it all."""
    lines = list(_troubles(report))
    counts = _counts(plan, {step.id for step in report.done})
    done = ", ".join(f"{count} {verb}" for verb, count in counts.items())
    head = "Apply complete" if report.ok else "Apply incomplete"
    lines.append(f"{head} in {report.elapsed:.1f} s: {done}.{_left(report)}")
    if not report.ok:
        lines.append("Apply again to go on: what is done stays done.")
    return "\n".join(lines) + "\n"


def report_data(applied: Applied) -> dict[str, Any]:
    """Return an apply's outcome as plain data."""
    report = applied.report
    data: dict[str, Any] = {"approved": applied.approved, "ok": applied.ok, "slices": list(applied.plan.slices)}
    if report is None:
        return data | {"changed": False}
    return data | {
        "changed": True,
        "seconds": round(report.elapsed, 3),
        "counts": _counts(applied.plan, {step.id for step in report.done}),
        "done": [_step(step) for step in report.done],
        "failed": [_step(item.step) | {"words": item.words} for item in report.failed],
        "unknown": [_step(item.step) | {"words": item.words} for item in report.unknown],
        "skipped": [_step(item.step) | {"reason": item.reason} for item in report.skipped],
        "not_started": [_step(step) for step in report.not_started],
    }


def _counts(plan: Plan, done: set[int]) -> dict[str, int]:
    """Count the changes of which every step is done."""
    steps: dict[str, list[Step]] = {}
    for step in plan.steps:
        steps.setdefault(step.address, []).append(step)
    finished = [change.action for change in plan.changes if all(step.id in done for step in steps[change.address])]
    return {verb: finished.count(action) for action, verb in _VERBS.items()}


def _troubles(report: Report) -> Iterator[str]:
    for failure in report.failed:
        yield from _told("failed", failure.step, failure.words)
    for unclear in report.unknown:
        yield from _told("unknown", unclear.step, unclear.words)
    for skip in report.skipped:
        yield from _told("skipped", skip.step, skip.reason)
    if report.not_started:
        yield f"not started: {len(report.not_started)} steps"


def _told(what: str, step: Step, words: str) -> Sequence[str]:
    first, *more = words.strip().splitlines() or ["it gave no reason"]
    return [f"{what}: {step.action} {step.address} on {step.host}: {first}", *(f"  {line}" for line in more)]


def _left(report: Report) -> str:
    parts = {
        "failed": len(report.failed),
        "unknown": len(report.unknown),
        "skipped": len(report.skipped),
        "not started": len(report.not_started),
    }
    told = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
    return f" Steps: {told}." if told else ""


def _step(step: Step) -> dict[str, Any]:
    return {"id": step.id, "action": step.action, "address": step.address, "host": step.host}
