"""What came of an apply, in words and as data: done, failed, skipped, each with the host's own words.

Steps that failed for one reason on one host are told once; so are those that were skipped for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from reconciler.plan.model import Action, Plan, Step
from reconciler.plan.results import StepResult
from reconciler.spec.quoting import plural

if TYPE_CHECKING:
    from reconciler.apply.execution.events import ApplyReport, HostLost
    from reconciler.workflow import ApplyResult

NAMED: Final = 3
"""How many steps of a group are named before the rest is only counted."""

_VERBS = {Action.CREATE: "added", Action.UPDATE: "changed", Action.REPLACE: "replaced", Action.DELETE: "destroyed"}


def report_text(plan: Plan, report: ApplyReport, lost: Iterable[HostLost] = ()) -> str:
    """Return the closing lines of an apply, ending with a newline: every trouble, then one line that counts it all.

    `lost` are the hosts that were given up; their hints are shown once each.
    """
    lines = list(troubles(report, {host.host: host.hint for host in lost if host.hint}))
    counts = _counts(plan, {result.step.id for result in report.done})
    done = ", ".join(f"{count} {verb}" for verb, count in counts.items())
    head = "Apply complete" if report.ok else "Apply incomplete"
    lines.append(f"{head} in {report.elapsed:.1f} s: {done}.{_left(report)}")
    if not report.ok:
        lines.append("Apply again to go on: what is done stays done.")
    return "\n".join(lines) + "\n"


def report_data(applied: ApplyResult, lost: Iterable[HostLost] = ()) -> dict[str, Any]:
    """Return an apply's outcome as plain data."""
    report = applied.report
    data: dict[str, Any] = {"approved": applied.approved, "ok": applied.ok, "slices": list(applied.plan.slices)}
    if report is None:
        return data | {"changed": False}
    return data | {
        "changed": True,
        "renumbered": applied.renumbered,
        "seconds": round(report.elapsed, 3),
        "counts": _counts(applied.plan, {result.step.id for result in report.done}),
        "done": [_step(item.step) for item in report.done],
        "failed": [_step(item.step) | {"words": item.message} for item in report.failed],
        "unknown": [_step(item.step) | {"words": item.message} for item in report.unknown],
        "skipped": [_step(item.step) | {"reason": item.message} for item in report.skipped],
        "not_started": [_step(item.step) for item in report.not_started],
        "lost": None if report.lock_lost is None else report.lock_lost.summary,
        "hosts_lost": [{"host": host.host, "words": host.message, "hint": host.hint} for host in lost],
    }


def _counts(plan: Plan, done: set[int]) -> dict[str, int]:
    """Count the changes of which every step is done."""
    steps: dict[str, list[Step]] = {}
    for step in plan.steps:
        steps.setdefault(step.address, []).append(step)
    finished = [change.action for change in plan.changes if all(step.id in done for step in steps[change.address])]
    return {verb: finished.count(action) for action, verb in _VERBS.items()}


def troubles(report: ApplyReport, hints: dict[str, str]) -> Iterator[str]:
    """Yield every trouble of a report once; `hints` are those of hosts that were given up."""
    causes: dict[int, str] = {}
    for what, results in (("failed", report.failed), ("unknown", report.unknown)):
        for group in _grouped(results):
            steps = [result.step for result in group]
            yield from _told(what, steps, group[0].message, hints.get(steps[0].host))
            causes |= {step.id: _cause(steps) for step in steps}
    skipped: dict[str, list[Step]] = {}
    for skip in report.skipped:
        because = skip.because or skip.step
        skipped.setdefault(causes.get(because.id, _cause([because])), []).append(skip.step)
    for cause, steps in skipped.items():
        yield f"skipped: {plural(len(steps), 'step')}, for {cause}: {_names(steps)}"
    if report.not_started:
        yield f"not started: {plural(len(report.not_started), 'step')}"


def _grouped(results: Sequence[StepResult]) -> list[list[StepResult]]:
    """Put together what went wrong in the same words on the same host, in the order of the plan."""
    groups: dict[tuple[str, str], list[StepResult]] = {}
    for result in results:
        groups.setdefault((result.step.host, result.message), []).append(result)
    return list(groups.values())


def _told(what: str, steps: Sequence[Step], words: str, hint: str | None) -> Iterator[str]:
    first, *more = words.strip().splitlines() or ["it gave no reason"]
    if len(steps) == 1:
        yield f"{what}: {steps[0].action} {steps[0].address} on {steps[0].host}: {first}"
    else:
        yield f"{what}: {steps[0].host}: {first} ({plural(len(steps), 'step')}: {_names(steps)})"
    yield from (f"  {line}" for line in more)
    if hint:
        yield f"  hint: {hint}"


def _cause(steps: Sequence[Step]) -> str:
    what = f"{steps[0].address} on" if len(steps) == 1 else "what failed on"
    return f"want of {what} {steps[0].host}"


def _names(steps: Sequence[Step]) -> str:
    named = ", ".join(step.address for step in steps[:NAMED])
    return named + (f" and {len(steps) - NAMED} more" if len(steps) > NAMED else "")


def _left(report: ApplyReport) -> str:
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
