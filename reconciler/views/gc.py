"""Formats the result of `gc`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from reconciler.apply.execution.events import HostLost
from reconciler.plan.results import StepResult
from reconciler.spec.quoting import plural
from reconciler.views import documents
from reconciler.views.orphans import orphan_fields, orphan_text, other_lines, unread_documents, unread_lines
from reconciler.views.report import NOTHING_CHANGED, failure_lines
from reconciler.views.view import View
from reconciler.workflow.gc import GcAction, GcDecision, GcResult

_TIME = "%Y-%m-%d %H:%M:%S UTC"
_WAITING = (GcAction.FIRST, GcAction.YOUNG)


def gc_view(result: GcResult, hosts_lost: Sequence[HostLost], *, dry_run: bool) -> View:
    """Show what was removed, or would be."""
    return View(
        lambda: ["".join(f"{line}\n" for line in _lines(result, hosts_lost, dry_run=dry_run))],
        lambda: _document(result),
        lambda: "" if result.approved else NOTHING_CHANGED,
    )


def decisions_text(result: GcResult) -> str:
    """Return the decision on every orphan, with its reason."""
    return "".join(f"{line}\n" for line in _decision_lines(result))


def removal_question(result: GcResult) -> str:
    """Ask whether to remove the orphans that can go."""
    return f"Remove {_orphans(len(result.doomed))}?"


def _lines(result: GcResult, hosts_lost: Sequence[HostLost], *, dry_run: bool) -> Iterator[str]:
    if not result.approved:
        return
    if result.report is None:
        yield from _decision_lines(result)
        yield _nothing_removed(result, dry_run=dry_run)
        return
    yield from failure_lines(result.report, {host.host: host.hint for host in hosts_lost if host.hint})
    yield f"Removed {_orphans(len(result.report.done))} in {result.report.elapsed:.1f} s."


def _decision_lines(result: GcResult) -> Iterator[str]:
    others = [decision.orphan for decision in result.decisions if decision.action is GcAction.OTHER]
    for decision in result.decisions:
        if decision.action is not GcAction.OTHER:
            yield f"{decision.action}: {orphan_text(decision.orphan)}{_reason(decision)}"
    yield from other_lines(others)
    yield from unread_lines(result.unread)


def _orphans(count: int) -> str:
    return plural(count, "orphan")


def _reason(decision: GcDecision) -> str:
    match decision.action:
        case GcAction.IN_USE:
            return f"; {decision.orphan.users[0].address} depends on it"
        case GcAction.UNCLAIMED:
            return "; add --include-unclaimed to remove it too"
        case _ if decision.seen is not None:
            times = "once" if decision.seen.count == 1 else f"{decision.seen.count} times"
            return f"; seen {times} since {decision.seen.first.strftime(_TIME)}"
        case _:
            return ""


def _nothing_removed(result: GcResult, *, dry_run: bool) -> str:
    actions = [decision.action for decision in result.decisions if decision.action is not GcAction.OTHER]
    if dry_run and GcAction.REMOVE in actions:
        return f"Would remove {_orphans(actions.count(GcAction.REMOVE))}."
    waiting = sum(action in _WAITING for action in actions)
    if waiting and not dry_run:
        return f"Nothing was removed. A later run removes {_orphans(waiting)} if still present."
    return "Nothing to remove." if actions else "No orphans."


def _document(result: GcResult) -> documents.GcDocument:
    report = result.report
    return documents.GcDocument(
        ok=result.ok,
        approved=result.approved,
        orphans=[_decided(decision) for decision in result.decisions],
        unread=unread_documents(result.unread),
        removed=_places(report.done if report else ()),
        failed=_places((*report.failed, *report.unknown) if report else ()),
        skipped=_places(report.skipped if report else ()),
    )


def _decided(decision: GcDecision) -> documents.DecidedOrphan:
    seen = decision.seen
    return documents.DecidedOrphan(
        **orphan_fields(decision.orphan),
        fate=decision.action,
        first_seen=seen.first.isoformat() if seen else None,
        seen_before=seen.count if seen else 0,
    )


def _places(results: Iterable[StepResult]) -> list[documents.ResourcePlace]:
    return [documents.ResourcePlace(address=item.step.address, host=item.step.host) for item in results]
