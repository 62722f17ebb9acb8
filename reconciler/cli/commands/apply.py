"""The verbs `apply` and `destroy`: prepare, show and ask, perform."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from reconciler import workflow
from reconciler.apply.execution.events import HostLost
from reconciler.cli.engines import open_engine
from reconciler.cli.interrupt import Runs
from reconciler.cli.options import (
    PARALLELISM,
    AllowDestroy,
    AutoApprove,
    LockTimeout,
    Parallelism,
    Paths,
    Prune,
    Replace,
)
from reconciler.cli.program import INTERRUPTED
from reconciler.cli.progress import progress
from reconciler.cli.questions import confirm, require_approval
from reconciler.cli.session import Session
from reconciler.engine import Engine
from reconciler.errors import NumbersTaken, UsageError
from reconciler.plan.data_loss import unasked_losses
from reconciler.plan.model import Plan
from reconciler.views.plan import RENUMBERED_TEXT, data_loss_question, data_loss_text, plan_view
from reconciler.views.report import apply_view
from reconciler.workflow.applying import ApplyResult, PreparedApply
from reconciler.workflow.saved_plans import find_saved, read_saved, saved_inputs

RENUMBERED = 10
"""How often an apply without a question is planned again because other applies took its numbers."""


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """How an apply is approved and performed; `lock_timeout` is in seconds."""

    auto_approve: bool
    parallelism: int
    lock_timeout: float
    accept_data_loss: bool = False


def apply(  # noqa: PLR0913 - one parameter for each option
    session: Session,
    paths: Paths = None,
    *,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh/--no-refresh",
            envvar="RECONCILER_REFRESH",
            help="Compare the hosts with the state first, and repair what differs.",
        ),
    ] = True,
    replace: Replace = None,
    prune: Prune = False,
    allow_destroy: AllowDestroy = False,
    accept_data_loss: Annotated[
        bool,
        typer.Option(
            "--accept-data-loss",
            envvar="RECONCILER_ACCEPT_DATA_LOSS",
            help="Apply the plan even if VMs lose their data.",
        ),
    ] = False,
    auto_approve: AutoApprove = False,
    lock_timeout: LockTimeout = 0.0,
    parallelism: Parallelism = PARALLELISM,
) -> int:
    """Make the hosts match the files: compare the hosts, show the plan, ask, and perform it.

    Differences on the hosts are repaired. If VMs would lose data that nobody asked to delete, apply asks separately,
    and with --auto-approve refuses unless --accept-data-loss is given. Hosts that could not be read are named, with
    exit code 1. A plan that `plan -o` saved is performed exactly as it is, or refused if it is stale.

    Examples:
      reconciler apply slices/two-vms.yaml
      reconciler apply two-vms.plan
      reconciler apply --auto-approve slices/
      reconciler apply --prune slices/
      reconciler apply --no-refresh slices/two-vms.yaml
      reconciler apply --replace vm/admin/two-vms/web slices/two-vms.yaml
      reconciler apply --lock-timeout 2m slices/two-vms.yaml
    """
    _require_approval(auto_approve=auto_approve)
    options = ApplyOptions(auto_approve, parallelism, lock_timeout, accept_data_loss)
    if (saved := find_saved(paths or [])) is not None:
        if replace or prune:
            option = "--replace" if replace else "--prune"
            raise UsageError(f"{saved} is a saved plan, which is applied as it is", hint=f"leave out {option}")
        return _apply_saved(session, saved, options)
    inputs = session.slice_inputs(paths or [], whole=prune)

    async def prepare(engine: Engine) -> PreparedApply:
        store, call = engine.store, engine.worker.run
        found = await call(
            workflow.asked, inputs, store, paths or [], replace, prune=prune, allow_many=allow_destroy, refresh=refresh
        )
        return await workflow.prepare(engine, inputs, found)

    return run_apply(session, inputs, options, prepare)


def destroy(
    session: Session,
    slices: Annotated[list[str], typer.Argument(metavar="SLICE", help="Slices, as owner/name, name or file.")],
    *,
    auto_approve: AutoApprove = False,
    lock_timeout: LockTimeout = 0.0,
    parallelism: Parallelism = PARALLELISM,
) -> int:
    """Delete slices from the hosts and the state. Their files are not needed.

    Examples:
      reconciler destroy admin/two-vms
      reconciler destroy --auto-approve two-vms triangle
    """
    _require_approval(auto_approve=auto_approve)
    inputs, names = session.inputs(), session.slice_names(slices)

    async def prepare(engine: Engine) -> PreparedApply:
        found = await engine.worker.run(workflow.find_slices, engine.store, names, unfinished=True)
        return await workflow.prepare(engine, inputs, workflow.Asked(destroy=found))

    return run_apply(session, inputs, ApplyOptions(auto_approve, parallelism, lock_timeout), prepare)


def _require_approval(*, auto_approve: bool) -> None:
    require_approval(auto_approve=auto_approve, hint="review `reconciler plan`, then add --auto-approve")


def _apply_saved(session: Session, path: Path, options: ApplyOptions) -> int:
    """Perform exactly a saved plan; if it is stale, that is an error before any question."""
    saved = read_saved(path)
    inputs = saved_inputs(session.cluster_path(), saved, path)

    async def prepare(engine: Engine) -> PreparedApply:
        return await workflow.prepare_saved(engine, saved.plan, inputs)

    return run_apply(session, inputs, options, prepare)


def run_apply(
    session: Session,
    inputs: workflow.Inputs,
    options: ApplyOptions,
    prepare: Callable[[Engine], Awaitable[PreparedApply]],
) -> int:
    """Prepare, show and ask, perform, and print the result; the exit code is returned."""
    hosts_lost: list[HostLost] = []
    with Runs() as runs, progress(session, hosts_lost) as observer:
        opened = open_engine(
            session,
            inputs.cluster.cluster,
            observer,
            runs.stop,
            parallelism=options.parallelism,
            lock_timeout=options.lock_timeout,
        )
        with runs.entered(opened) as engine:

            async def prepared() -> PreparedApply:
                return await prepare(engine)

            with runs.entered(runs.run(prepared())) as ready:
                result = _approve_and_perform(session, options, runs, ready)
    return _print_result(session, result, hosts_lost)


def _approve_and_perform(session: Session, options: ApplyOptions, runs: Runs, prepared: PreparedApply) -> ApplyResult:
    """Show a plan, ask unless that is not needed, and perform it."""
    if options.auto_approve:
        _announce(session, prepared)
    elif runs.stop.is_set():
        raise KeyboardInterrupt
    elif not _ask(session, prepared):
        return prepared.declined()
    accept = options.accept_data_loss
    if unasked_losses(prepared.plan) and not (accept or options.auto_approve):
        accept = _ask_data_loss(prepared.plan)
        if not accept:
            return prepared.declined()
    for _ in range(RENUMBERED):
        try:
            return runs.run(workflow.perform(prepared, accept_data_loss=accept))
        except NumbersTaken:
            if not options.auto_approve:
                raise
            prepared = workflow.renumber(prepared)
            sys.stderr.write(RENUMBERED_TEXT)
            _announce(session, prepared)
    return runs.run(workflow.perform(prepared, accept_data_loss=accept))


def _announce(session: Session, prepared: PreparedApply) -> None:
    """Show a plan that is applied without a question; with --json, only the result is printed."""
    session.remark(plan_view(prepared.plan, prepared.refreshed.unseen, prepared.cordoned).text())


def _ask(session: Session, prepared: PreparedApply) -> bool:
    """Show a plan, and ask if it changes anything."""
    session.ask_about(plan_view(prepared.plan, prepared.refreshed.unseen, prepared.cordoned).text())
    return prepared.plan.empty or confirm("Do this?")


def _ask_data_loss(planned: Plan) -> bool:
    sys.stderr.write(data_loss_text(planned))
    return confirm(data_loss_question(planned))


def _print_result(session: Session, result: ApplyResult, hosts_lost: list[HostLost]) -> int:
    session.show(apply_view(result, hosts_lost))
    report = result.report
    if report is not None and report.not_started and report.lock_lost is None:
        return INTERRUPTED
    return 0 if result.ok else 1
