"""The verb that removes what nobody records: `gc`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli import INTERRUPTED
from reconciler.cli.commands.apply import AutoApprove, Parallelism, confirm
from reconciler.cli.durations import duration
from reconciler.cli.interrupt import Runs
from reconciler.cli.session import Session
from reconciler.errors import UsageError
from reconciler.spec.quoting import plural

if TYPE_CHECKING:
    from reconciler.apply.execution.events import HostLost
    from reconciler.plan.model import Step
    from reconciler.workflow import Inputs
    from reconciler.workflow.gc import GcDecision, GcPolicy, GcResult

_MOMENT = "%Y-%m-%d %H:%M:%S UTC"


def gc(
    session: Session,
    *,
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than",
            metavar="DURATION",
            parser=duration,
            show_default="10m",
            envvar="RECONCILER_OLDER_THAN",
            help="Minimum time since an orphan was first found, such as 90s, 10m, 2h or 1d.",
        ),
    ] = 600.0,
    include_unclaimed: Annotated[
        bool,
        typer.Option(
            "--include-unclaimed",
            envvar="RECONCILER_INCLUDE_UNCLAIMED",
            help="Also remove orphans that no state on that host claims.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", envvar="RECONCILER_DRY_RUN", help="Only show what would be removed; save nothing."),
    ] = False,
    auto_approve: AutoApprove = False,
    parallelism: Parallelism = 10,
) -> int:
    """Remove orphans: tagged objects on hosts that are not in the state and that an earlier run found too.

    The first run that finds an orphan only saves it. A later run removes it, if it is unchanged and nothing depends on
    it. What another state may need is never touched.

    [bold]Examples[/bold]

      reconciler gc --dry-run
      reconciler gc
      reconciler gc --older-than 1h --auto-approve
    """
    from reconciler.workflow.gc import GcPolicy  # noqa: PLC0415

    policy = GcPolicy(timedelta(seconds=older_than), unclaimed=include_unclaimed)
    if not (auto_approve or dry_run or sys.stdin.isatty()):
        raise UsageError(
            "there is no terminal to ask on, so nothing was changed",
            hint="look at `reconciler gc --dry-run`, then add --auto-approve",
        )
    inputs = session.inputs()
    lost: list[HostLost] = []
    swept = _collect(session, inputs, policy, lost, parallelism, dry_run=dry_run, ask=not auto_approve)
    _tell(session, swept, lost, dry_run=dry_run)
    if swept.report is not None and swept.report.not_started:
        return INTERRUPTED
    return 0 if swept.ok else 1


def _collect(  # noqa: PLR0913 - the options of the verb, and where lost hosts are added
    session: Session,
    inputs: Inputs,
    policy: GcPolicy,
    lost: list[HostLost],
    parallelism: int,
    *,
    dry_run: bool,
    ask: bool,
) -> GcResult:
    from reconciler.workflow import gc  # noqa: PLC0415

    now = datetime.now(UTC)
    with Runs() as runs, session.progress(lost) as observer:
        opened = session.engine(inputs.cluster, observer, runs.stop, read_only=dry_run, parallelism=parallelism)
        with runs.entered(opened) as engine:
            if dry_run:
                return replace(runs.run(gc.examine(engine, inputs, now=now, policy=policy)), approved=True)
            prepared = runs.run(gc.prepare(engine, inputs, now=now, policy=policy))
            if prepared.doomed and not _approved(session, prepared, ask=ask):
                return prepared
            return runs.run(gc.perform(engine, inputs, prepared, now=now, policy=policy))


def _approved(session: Session, prepared: GcResult, *, ask: bool) -> bool:
    """Show what would be removed, and ask unless that is spared."""
    stream = sys.stderr if session.json else sys.stdout
    stream.writelines(f"{line}\n" for line in _lines(prepared) if ask or not session.json)
    return not ask or confirm(f"Remove {plural(len(prepared.doomed), 'orphan')}?")


def _tell(session: Session, swept: GcResult, lost: Sequence[HostLost], *, dry_run: bool) -> None:
    if session.json:
        session.print_json(_data(swept))
        return
    if not swept.approved:
        sys.stderr.write("Nothing was changed.\n")
        return
    from reconciler.cli.summary import troubles  # noqa: PLC0415

    if swept.report is None:
        sys.stdout.writelines(f"{line}\n" for line in (*_lines(swept), _unremoved(swept, dry_run=dry_run)))
        return
    hints: dict[str, str] = {host.host: host.hint for host in lost if host.hint}
    sys.stdout.writelines(f"{line}\n" for line in troubles(swept.report, hints))
    sys.stdout.write(f"Removed {plural(len(swept.report.done), 'orphan')} in {swept.report.elapsed:.1f} s.\n")


def _lines(swept: GcResult) -> Iterator[str]:
    from reconciler.cli.orphans import orphan_words, other_lines, unread_lines  # noqa: PLC0415
    from reconciler.workflow.gc import GcAction  # noqa: PLC0415

    others = [decision.orphan for decision in swept.decisions if decision.action is GcAction.OTHER]
    for decision in swept.decisions:
        if decision.action is not GcAction.OTHER:
            yield f"{decision.action}: {orphan_words(decision.orphan)}{_why(decision)}"
    yield from other_lines(others)
    yield from unread_lines(swept.unread)


def _why(decision: GcDecision) -> str:
    from reconciler.workflow.gc import GcAction  # noqa: PLC0415

    match decision.action:
        case GcAction.IN_USE:
            return f"; {decision.orphan.users[0].address} stands on it"
        case GcAction.UNCLAIMED:
            return "; --include-unclaimed takes it too"
        case _ if decision.seen is not None:
            times = "once" if decision.seen.count == 1 else f"{decision.seen.count} times"
            return f"; seen {times} since {decision.seen.first.strftime(_MOMENT)}"
        case _:
            return ""


def _unremoved(swept: GcResult, *, dry_run: bool) -> str:
    from reconciler.workflow.gc import GcAction  # noqa: PLC0415

    actions = [decision.action for decision in swept.decisions if decision.action is not GcAction.OTHER]
    if dry_run and GcAction.REMOVE in actions:
        return f"Would remove {plural(actions.count(GcAction.REMOVE), 'orphan')}."
    waiting = sum(action in {GcAction.FIRST, GcAction.YOUNG} for action in actions)
    if waiting and not dry_run:
        return f"Nothing was removed. A later run removes {plural(waiting, 'orphan')} if still there."
    return "Nothing to remove." if actions else "No orphans."


def _data(swept: GcResult) -> dict[str, Any]:
    from reconciler.cli.orphans import orphan_data  # noqa: PLC0415

    report = swept.report
    troubled = [*(one.step for one in report.failed), *(one.step for one in report.unknown)] if report else []
    orphans = [
        orphan_data(decision.orphan)
        | {
            "fate": decision.action,
            "first_seen": decision.seen.first.isoformat() if decision.seen else None,
            "seen_before": decision.seen.count if decision.seen else 0,
        }
        for decision in swept.decisions
    ]
    return {
        "ok": swept.ok,
        "approved": swept.approved,
        "orphans": orphans,
        "unread": [asdict(one) for one in swept.unread],
        "removed": _steps([result.step for result in report.done] if report else ()),
        "failed": _steps(troubled),
        "skipped": _steps([result.step for result in report.skipped] if report else ()),
    }


def _steps(steps: Iterable[Step]) -> list[dict[str, str]]:
    return [{"address": step.address, "host": step.host} for step in steps]
