"""Formats the result of an apply: every step that is not done, with its reason, and the counts.

Steps that failed on one host for one reason are reported together, and so are the steps that were skipped for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from reconciler.apply.execution.events import ApplyReport, HostLost
from reconciler.plan.model import Action, Plan, Step
from reconciler.plan.results import StepResult
from reconciler.spec.quoting import listed, plural
from reconciler.views.documents import Applied, AppliedChanges, DoneStep, FailedStep, LostHost, SkippedStep, UnknownHost
from reconciler.views.documents import Step as StepModel
from reconciler.views.errors import problems_text
from reconciler.views.plan import unseen_data, unseen_text
from reconciler.views.view import View
from reconciler.workflow import ApplyResult

NAMED: Final = 3
"""How many steps of a group are named before the rest is only counted."""

NOTHING_CHANGED: Final = "Nothing was changed.\n"
"""What to say after a plan that was declined."""

_VERBS = {Action.CREATE: "added", Action.UPDATE: "changed", Action.REPLACE: "replaced", Action.DELETE: "destroyed"}


def apply_view(applied: ApplyResult, hosts_lost: Sequence[HostLost]) -> View:
    """Show the result of an apply."""
    return View(lambda: _text(applied, hosts_lost), lambda: _document(applied, hosts_lost), lambda: _notes(applied))


def _text(applied: ApplyResult, hosts_lost: Sequence[HostLost]) -> Sequence[str]:
    if applied.report is None:
        return [unseen_text(applied.unseen)] if applied.unseen else []
    return [report_text(applied.plan, applied.report, hosts_lost) + unseen_text(applied.unseen)]


def _notes(applied: ApplyResult) -> str:
    """Say that nothing was changed, or why the apply ended early."""
    if not applied.approved:
        return NOTHING_CHANGED
    lost = None if applied.report is None else applied.report.lock_lost
    return "" if lost is None else problems_text(lost.problems())


def report_text(plan: Plan, report: ApplyReport, hosts_lost: Iterable[HostLost] = ()) -> str:
    """Return the closing lines of an apply: every step that is not done, then one line with all counts.

    The hints of hosts that were given up are shown once each.
    """
    lines = list(failure_lines(report, {host.host: host.hint for host in hosts_lost if host.hint}))
    counts = _counts(plan, {result.step.id for result in report.done})
    destroys = bool(plan.slices) and not plan.allocations
    shown = {_VERBS[Action.DELETE]: counts[_VERBS[Action.DELETE]]} if destroys else counts
    adopted = sum(result.adopted for result in report.done)
    notes = {_VERBS[Action.CREATE]: f" ({adopted} adopted)"} if adopted else {}
    done = ", ".join(f"{count} {verb}{notes.get(verb, '')}" for verb, count in shown.items())
    verb = "destroy" if destroys else "apply"
    ended = "complete" if report.ok else "incomplete"
    lines.append(f"{verb.capitalize()} {ended} in {report.elapsed:.1f} s: {done}.{_left(report)}")
    if not report.ok:
        lines.append(f"Run {verb} again to continue; completed steps are kept.")
    return "\n".join(lines) + "\n"


def _document(applied: ApplyResult, hosts_lost: Iterable[HostLost]) -> Applied:
    report = applied.report
    slices = list(applied.plan.slices)
    if report is None:
        return Applied(
            approved=applied.approved, ok=applied.ok, slices=slices, changed=False, hosts_unknown=_unknown(applied)
        )
    return AppliedChanges(
        approved=applied.approved,
        ok=applied.ok,
        slices=slices,
        changed=True,
        hosts_unknown=_unknown(applied),
        renumbered=applied.renumbered,
        seconds=round(report.elapsed, 3),
        counts=_counts(applied.plan, {result.step.id for result in report.done}),
        done=[DoneStep(**_step(item.step), adopted=item.adopted) for item in report.done],
        failed=[FailedStep(**_step(item.step), words=item.message) for item in report.failed],
        unknown=[FailedStep(**_step(item.step), words=item.message) for item in report.unknown],
        skipped=[SkippedStep(**_step(item.step), reason=item.message) for item in report.skipped],
        not_started=[StepModel(**_step(item.step)) for item in report.not_started],
        lost=None if report.lock_lost is None else report.lock_lost.summary,
        hosts_lost=[LostHost(host=host.host, words=host.message, hint=host.hint) for host in hosts_lost],
    )


def _unknown(applied: ApplyResult) -> list[UnknownHost]:
    return [UnknownHost(**each) for each in unseen_data(applied.unseen)]


def _counts(plan: Plan, done: set[int]) -> dict[str, int]:
    """Count the changes of which every step is done."""
    steps: dict[str, list[Step]] = {}
    for step in plan.steps:
        steps.setdefault(step.address, []).append(step)
    finished = [change.action for change in plan.changes if all(step.id in done for step in steps[change.address])]
    return {verb: finished.count(action) for action, verb in _VERBS.items()}


def failure_lines(report: ApplyReport, hints: dict[str, str]) -> Iterator[str]:
    """Yield a line for every reason why steps are not done; `hints` are those of hosts that were given up."""
    causes: dict[int, str] = {}
    for what, results in (("failed", report.failed), ("unknown", report.unknown)):
        for group in _grouped(results):
            steps = [result.step for result in group]
            yield from _group_lines(what, steps, group[0].message, hints.get(steps[0].host))
            causes |= {step.id: _cause(steps, what) for step in steps}
    skipped: dict[str, list[Step]] = {}
    for skip in report.skipped:
        because = skip.because or skip.step
        skipped.setdefault(causes.get(because.id, _cause([because], "failed")), []).append(skip.step)
    for cause, steps in skipped.items():
        depend = "it depends" if len(steps) == 1 else "they depend"
        yield f"skipped: {plural(len(steps), 'step')} ({depend} on {cause}): {_names(steps)}"
    if report.not_started:
        yield f"not started: {plural(len(report.not_started), 'step')}"


def _grouped(results: Sequence[StepResult]) -> list[list[StepResult]]:
    """Group results with the same message on the same host, in the order of the plan."""
    groups: dict[tuple[str, str], list[StepResult]] = {}
    for result in results:
        groups.setdefault((result.step.host, result.message), []).append(result)
    return list(groups.values())


def _group_lines(what: str, steps: Sequence[Step], message: str, hint: str | None) -> Iterator[str]:
    first, *more = message.strip().splitlines() or ["no reason given"]
    if len(steps) == 1:
        yield f"{what}: {steps[0].action} {steps[0].address} on {steps[0].host}: {first}"
    else:
        yield f"{what}: {steps[0].host}: {first} ({plural(len(steps), 'step')}: {_names(steps)})"
    yield from (f"  {line}" for line in more)
    if hint:
        yield f"  hint: {hint}"


def _cause(steps: Sequence[Step], what: str) -> str:
    if len(steps) > 1:
        return f"steps that failed on {steps[0].host}"
    reason = "whose result is unknown" if what == "unknown" else "which failed"
    return f"{steps[0].address} on {steps[0].host}, {reason}"


def _names(steps: Sequence[Step]) -> str:
    return listed([step.address for step in steps], NAMED)


def _left(report: ApplyReport) -> str:
    parts = {
        "failed": len(report.failed),
        "unknown": len(report.unknown),
        "skipped": len(report.skipped),
        "not started": len(report.not_started),
    }
    counts = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
    return f" Steps: {counts}." if counts else ""


def _step(step: Step) -> dict[str, Any]:
    return {"id": step.id, "action": step.action, "address": step.address, "host": step.host}
