"""The verb `gc`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from reconciler.apply.execution.events import HostLost
from reconciler.cli.engines import open_engine
from reconciler.cli.interrupt import Runs
from reconciler.cli.options import PARALLELISM, AutoApprove, Parallelism, duration
from reconciler.cli.program import INTERRUPTED
from reconciler.cli.progress import progress
from reconciler.cli.questions import confirm, require_approval
from reconciler.cli.session import Session
from reconciler.views.gc import decisions_text, gc_view, removal_question
from reconciler.workflow import gc as workflow
from reconciler.workflow.gc import GcPolicy, GcResult


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
            help="Remove only orphans that were first seen this long ago, such as 90s, 10m, 2h or 1d.",
        ),
    ] = 600.0,
    include_unclaimed: Annotated[
        bool,
        typer.Option(
            "--include-unclaimed",
            envvar="RECONCILER_INCLUDE_UNCLAIMED",
            help="Also remove orphans that no state on their host claims.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", envvar="RECONCILER_DRY_RUN", help="Only show what would be done; save nothing."),
    ] = False,
    auto_approve: AutoApprove = False,
    parallelism: Parallelism = PARALLELISM,
) -> int:
    """Delete orphans: objects on hosts that carry our tag and are not in the state.

    The first run that sees an orphan only saves that in the state. A later run deletes it, if it is still the same
    object and nothing depends on it. Objects that another state may need are never touched.

    Examples:
      reconciler gc --dry-run
      reconciler gc
      reconciler gc --older-than 1h --auto-approve
    """
    require_approval(
        auto_approve=auto_approve or dry_run, hint="review `reconciler gc --dry-run`, then add --auto-approve"
    )
    policy = GcPolicy(timedelta(seconds=older_than), unclaimed=include_unclaimed)
    hosts_lost: list[HostLost] = []
    result = _run(session, policy, hosts_lost, parallelism, dry_run=dry_run, ask=not auto_approve)
    session.show(gc_view(result, hosts_lost, dry_run=dry_run))
    if result.report is not None and result.report.not_started:
        return INTERRUPTED
    return 0 if result.ok else 1


def _run(
    session: Session,
    policy: GcPolicy,
    hosts_lost: list[HostLost],
    parallelism: int,
    *,
    dry_run: bool,
    ask: bool,
) -> GcResult:
    inputs = session.inputs()
    now = datetime.now(UTC)
    with Runs() as runs, progress(session, hosts_lost) as observer:
        opened = open_engine(
            session, inputs.cluster.cluster, observer, runs.stop, read_only=dry_run, parallelism=parallelism
        )
        with runs.entered(opened) as engine:
            if dry_run:
                return replace(runs.run(workflow.examine(engine, inputs, now=now, policy=policy)), approved=True)
            prepared = runs.run(workflow.prepare(engine, inputs, now=now, policy=policy))
            if prepared.doomed and not _approved(session, prepared, ask=ask):
                return prepared
            return runs.run(workflow.perform(engine, inputs, prepared, now=now, policy=policy))


def _approved(session: Session, prepared: GcResult, *, ask: bool) -> bool:
    """Show what would be removed, and ask unless that is not needed."""
    if not ask:
        session.remark([decisions_text(prepared)])
        return True
    session.ask_about([decisions_text(prepared)])
    return confirm(removal_question(prepared))
