"""The verbs that change things, and the one that only says what they would do: `plan`, `apply`, `destroy`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import INTERRUPTED
from reconciler.cli.commands.files import Paths
from reconciler.cli.durations import LockTimeout
from reconciler.cli.interrupt import ask
from reconciler.cli.planfiles import Out, check_place, find_saved, read_saved, save, saved_inputs
from reconciler.cli.session import Session
from reconciler.errors import StateLost, UsageError
from reconciler.spec.quoting import shown

if TYPE_CHECKING:
    from reconciler.apply.execution.events import HostLost
    from reconciler.cli.interrupt import Runs
    from reconciler.engine import Engine
    from reconciler.plan.model import Plan
    from reconciler.plan.snapshot import ResourceDrift
    from reconciler.spec.models.names import Address, SliceKey
    from reconciler.state.sql.store import SqlStore
    from reconciler.state.store import StateReader
    from reconciler.workflow import ApplyResult, Asked, Inputs, PreparedApply

AutoApprove = Annotated[
    bool, typer.Option("--auto-approve", envvar="RECONCILER_AUTO_APPROVE", help="Do not ask for approval.")
]
Parallelism = Annotated[
    int,
    typer.Option(
        "--parallelism", min=1, envvar="RECONCILER_PARALLELISM", help="Number of hosts to work on at the same time."
    ),
]
Replace = Annotated[
    list[str] | None,
    typer.Option(
        "--replace",
        metavar="ADDRESS",
        envvar="RECONCILER_REPLACE",
        help="Replace a resource even if it has no difference, such as vm/admin/two-vms/web.",
    ),
]
Prune = Annotated[
    bool,
    typer.Option(
        "--prune",
        envvar="RECONCILER_PRUNE",
        help="Also destroy slices in the state that no file of the folders describes.",
    ),
]
Rehearse = Annotated[
    bool,
    typer.Option(
        "--rehearse",
        envvar="RECONCILER_REHEARSE",
        help="Simulate the plan: interrupt it at every point, and check that the next apply completes it.",
    ),
]
DetailedExitcode = Annotated[
    bool,
    typer.Option(
        "--detailed-exitcode",
        envvar="RECONCILER_DETAILED_EXITCODE",
        help="Exit with 0 for no changes, 2 for changes, 1 for an error.",
    ),
]
AllowDestroy = Annotated[
    bool,
    typer.Option(
        "--allow-destroy",
        envvar="RECONCILER_ALLOW_DESTROY",
        help="Allow --prune to destroy more than 3 slices that are more than a third of all.",
    ),
]
RENUMBERED = 10
"""How often an apply that nobody is asked about is planned again because others were given its numbers."""

CHANGES = 2
"""The exit code of `--detailed-exitcode` where there is something to do."""


def plan(  # noqa: PLR0913 - one parameter for each option
    session: Session,
    paths: Paths = None,
    *,
    refresh: Annotated[
        bool,
        typer.Option("--refresh", envvar="RECONCILER_REFRESH", help="Refresh from the hosts first, as apply does."),
    ] = False,
    replace: Replace = None,
    prune: Prune = False,
    allow_destroy: AllowDestroy = False,
    rehearse: Rehearse = False,
    out: Out = None,
    detailed_exitcode: DetailedExitcode = False,
) -> int:
    """Show what would change, and why. Changes nothing, and contacts hosts only with --refresh.

    With -o, the plan is also saved. `reconciler apply FILE` performs exactly that plan, or refuses it if it is stale.

    With --rehearse, an apply is simulated in memory from the current state, and interrupted at every point. The next
    apply must then end like one without an interruption. If not, the error names the point, and no plan is saved.

    [bold]Examples[/bold]

      reconciler plan
      reconciler plan slices/two-vms.yaml
      reconciler plan --refresh slices/two-vms.yaml
      reconciler plan --json slices/ | jq .counts
      reconciler plan -o two-vms.plan slices/two-vms.yaml
      reconciler plan --prune slices/
      reconciler plan --rehearse slices/two-vms.yaml
    """
    from reconciler import workflow  # noqa: PLC0415

    if rehearse and refresh:
        raise UsageError(
            "--rehearse plays from what is recorded, and --refresh looks at the hosts", hint="leave out one of them"
        )
    inputs = session.slice_inputs(paths or [])
    if out is not None:
        check_place(out, inputs)
    with session.reader(inputs.cluster) as reader:
        doomed = _doomed(inputs, reader, paths or [], allow_many=allow_destroy) if prune else ()
        asked = _asked(replace, doomed)
        drifted = _refreshed(session, inputs, reader, asked) if refresh else {}
        planned = workflow.plan(inputs, reader, asked, drifted)
    if not rehearse:
        show_plan(session, planned)
    else:
        with session.store(inputs.cluster, read_only=True) as store:
            _show_simulated(session, planned, inputs, store, asked)
    if out is not None:
        save(planned, inputs, out)
        if not session.json:
            name = shown(shlex.quote(str(out)), quote=False)
            sys.stdout.write(f"Saved: `reconciler apply {name}` does exactly this.\n")
    return CHANGES if detailed_exitcode and not planned.empty else 0


def apply(  # noqa: PLR0913 - one parameter for each option
    session: Session,
    paths: Paths = None,
    *,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh/--no-refresh",
            envvar="RECONCILER_REFRESH",
            help="Refresh from the hosts first, and repair what differs from the state.",
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
            help="If a VM's disk and its data are missing, continue with an empty disk.",
        ),
    ] = False,
    auto_approve: AutoApprove = False,
    lock_timeout: LockTimeout = 0.0,
    parallelism: Parallelism = 10,
) -> int:
    """Make the hosts match the files: refresh, show the plan, ask, and perform it.

    What was changed or lost on the hosts is repaired. A lost disk cannot be repaired: a separate question asks whether
    to continue with an empty one. With --auto-approve, this needs --accept-data-loss.

    A plan that `plan -o` saved is performed exactly, without a refresh and without planning again. A stale plan is
    refused.

    [bold]Examples[/bold]

      reconciler apply slices/two-vms.yaml
      reconciler apply two-vms.plan
      reconciler apply --auto-approve slices/
      reconciler apply --prune slices/
      reconciler apply --no-refresh slices/two-vms.yaml
      reconciler apply --replace vm/admin/two-vms/web slices/two-vms.yaml
      reconciler apply --lock-timeout 2m slices/two-vms.yaml
    """
    _require_approval(auto_approve=auto_approve)
    options = _Options(auto_approve, parallelism, lock_timeout, accept_data_loss)
    saved = find_saved(paths or [])
    if saved is not None:
        if replace or prune:
            option = "--replace" if replace else "--prune"
            raise UsageError(f"{saved} is a saved plan, and is done as it is", hint=f"leave out {option}")
        return _apply_saved(session, saved, options)
    inputs = session.slice_inputs(paths or [])

    async def prepare(engine: Engine) -> PreparedApply:
        doomed = _doomed(inputs, engine.store, paths or [], allow_many=allow_destroy) if prune else ()
        return await _prepare(engine, inputs, _asked(replace, doomed, refresh=refresh))

    return _apply(session, inputs, options, prepare)


def destroy(
    session: Session,
    slices: Annotated[list[str], typer.Argument(metavar="SLICE...", help="Slices, as owner/name or name.")],
    *,
    auto_approve: AutoApprove = False,
    lock_timeout: LockTimeout = 0.0,
    parallelism: Parallelism = 10,
) -> int:
    """Delete slices from the hosts, with or without their files.

    [bold]Examples[/bold]

      reconciler destroy admin/two-vms
      reconciler destroy --auto-approve two-vms triangle
    """
    from reconciler import workflow  # noqa: PLC0415

    _require_approval(auto_approve=auto_approve)
    inputs = session.inputs()

    async def prepare(engine: Engine) -> PreparedApply:
        found = workflow.find_slices(engine.store, slices, unfinished=True)
        return await workflow.prepare(engine, inputs, workflow.Asked(destroy=found))

    return _apply(session, inputs, _Options(auto_approve, parallelism, lock_timeout), prepare)


async def _prepare(engine: Engine, inputs: Inputs, asked: Asked) -> PreparedApply:
    from reconciler import workflow  # noqa: PLC0415

    return await workflow.prepare(engine, inputs, asked)


def _apply_saved(session: Session, path: Path, options: _Options) -> int:
    """Perform exactly a saved plan; if it is stale, that is an error before any question."""
    from reconciler import workflow  # noqa: PLC0415

    saved = read_saved(path)
    inputs = saved_inputs(session, saved, path)

    async def prepare(engine: Engine) -> PreparedApply:
        return await workflow.prepare_saved(engine, saved.plan, inputs)

    return _apply(session, inputs, options, prepare)


def _doomed(inputs: Inputs, store: StateReader, paths: Sequence[Path], *, allow_many: bool) -> tuple[SliceKey, ...]:
    """Return what a prune takes; raises UsageError where a single file is given, which says nothing of others."""
    from reconciler import workflow  # noqa: PLC0415

    if files := [str(path) for path in paths if not path.is_dir()]:
        raise UsageError(
            f"--prune goes by whole folders, and {files[0]} is a file", hint="name the folder of all slices"
        )
    return workflow.undescribed(inputs, store, allow_many=allow_many)


def _refreshed(session: Session, inputs: Inputs, store: StateReader, asked: Asked) -> dict[Address, ResourceDrift]:
    from reconciler import workflow  # noqa: PLC0415
    from reconciler.cli.interrupt import run_reading  # noqa: PLC0415 - a plan from the state alone needs no event loop
    from reconciler.workflow.refresh import refresh  # noqa: PLC0415

    async def work() -> dict[Address, ResourceDrift]:
        draft = workflow.plan(inputs, store, asked)
        async with session.connecting(inputs.cluster.cluster) as connector:
            return await refresh(inputs, store, connector, draft, asked.destroy)

    return run_reading(work())


def _asked(replace: Sequence[str] | None, destroy: tuple[SliceKey, ...], *, refresh: bool = True) -> Asked:
    from reconciler import workflow  # noqa: PLC0415
    from reconciler.spec.models.names import Address  # noqa: PLC0415

    addresses = tuple(Address(where) for where in replace or ())
    return workflow.Asked(destroy=destroy, replace=addresses, refresh=refresh)


def _require_approval(*, auto_approve: bool) -> None:
    if not auto_approve and not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask on, so nothing was changed",
            hint="look at `reconciler plan`, then add --auto-approve",
        )


@dataclass(frozen=True, slots=True)
class _Options:
    """How an apply is approved and performed; `lock_timeout` is in seconds."""

    auto_approve: bool
    parallelism: int
    lock_timeout: float
    accept_data_loss: bool = False


def _apply(
    session: Session, inputs: Inputs, options: _Options, prepare: Callable[[Engine], Awaitable[PreparedApply]]
) -> int:
    """Prepare, show and ask, perform, and print the result; the exit code is returned."""
    from reconciler.cli.interrupt import Runs  # noqa: PLC0415

    lost: list[HostLost] = []
    with Runs() as runs, session.progress(lost) as observer:
        opened = session.engine(
            inputs.cluster,
            observer,
            runs.stop,
            parallelism=options.parallelism,
            lock_timeout=options.lock_timeout,
        )
        with runs.entered(opened) as engine:

            async def prepared() -> PreparedApply:
                return await prepare(engine)

            with runs.entered(runs.run(prepared())) as ready:
                result = _approved(session, options, runs, ready)
    return _print_result(session, result, lost)


def _approved(session: Session, options: _Options, runs: Runs, prepared: PreparedApply) -> ApplyResult:
    """Show a plan, ask unless that is spared, and perform it."""
    from reconciler import workflow  # noqa: PLC0415
    from reconciler.errors import NumbersTaken  # noqa: PLC0415

    if options.auto_approve:
        _announce(session, prepared.plan)
    elif runs.stop.is_set():
        raise KeyboardInterrupt
    elif not _ask(session, prepared.plan):
        return prepared.declined()
    accept = options.accept_data_loss
    if prepared.plan.data_lost and not (accept or options.auto_approve):
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
            sys.stderr.write("Another apply was first: planned again, with new numbers for what is created.\n")
            _announce(session, prepared.plan)
    return runs.run(workflow.perform(prepared, accept_data_loss=accept))


def show_plan(session: Session, planned: Plan) -> None:
    """Print a plan, as text or as JSON."""
    from reconciler.cli.paint import paint  # noqa: PLC0415
    from reconciler.views.plan_json import render_json  # noqa: PLC0415
    from reconciler.views.plan_text import render_text  # noqa: PLC0415

    if session.json:
        sys.stdout.write(render_json(planned))
    else:
        paint(session.console(), render_text(planned))


def _show_simulated(session: Session, planned: Plan, inputs: Inputs, store: SqlStore, asked: Asked) -> None:
    """Print a plan and the result of its simulation; as JSON, both are one document."""
    from reconciler.cli.simulating import simulate_plan  # noqa: PLC0415
    from reconciler.views.plan_json import plan_data  # noqa: PLC0415

    if session.json:
        session.print_json(plan_data(planned) | {"rehearsal": simulate_plan(session, inputs, store, asked).data()})
        return
    show_plan(session, planned)
    sys.stdout.flush()  # a simulation takes seconds, and the plan can be read meanwhile
    sys.stdout.write(simulate_plan(session, inputs, store, asked).text())


def _announce(session: Session, planned: Plan) -> None:
    """Show a plan that nobody is asked about; with --json, only the result is printed."""
    if not session.json:
        show_plan(session, planned)


def _ask(session: Session, planned: Plan) -> bool:
    """Show a plan, and ask if it changes anything."""
    from reconciler.views.plan_text import render_text  # noqa: PLC0415

    if session.json:
        sys.stderr.write(render_text(planned))  # stdout is for the result alone
    else:
        show_plan(session, planned)
    return planned.empty or confirm("Do this?")


def _ask_data_loss(planned: Plan) -> bool:
    for change in planned.data_lost:
        sys.stderr.write(f"{change.address} on {change.subject.host}: {change.reason}\n")
    return confirm("Continue with an empty disk?" if len(planned.data_lost) == 1 else "Continue with empty disks?")


def confirm(question: str) -> bool:
    """Ask on the terminal; nothing, or the end of input, is a no. Raises Abort at Ctrl-C."""
    while True:
        answer = ask(f"{question} [y/N]: ")
        if not answer:
            sys.stderr.write("\n")
        match answer.strip().lower():
            case "y" | "yes":
                return True
            case "" | "n" | "no":
                return False
            case _:
                sys.stderr.write("Say y or n.\n")


def _print_result(session: Session, applied: ApplyResult, lost: Sequence[HostLost]) -> int:
    from reconciler.cli.summary import report_data, report_text  # noqa: PLC0415

    if session.json:
        session.print_json(report_data(applied, lost))
    elif not applied.approved:
        sys.stderr.write("Nothing was changed.\n")
    elif applied.report is not None:
        sys.stdout.write(report_text(applied.plan, applied.report, lost))
    if applied.report is not None and applied.report.lock_lost is not None:
        _tell_lost(session, applied.report.lock_lost)
    elif applied.report is not None and applied.report.not_started:
        return INTERRUPTED
    return 0 if applied.ok else 1


def _tell_lost(session: Session, lost: StateLost) -> None:
    """Say who took over; as JSON, the report has said it."""
    from reconciler.cli.errors import complain  # noqa: PLC0415

    if not session.json:
        complain(lost, as_json=False)
