"""The verb `plan`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler import workflow
from reconciler.cli.options import AllowDestroy, Paths, Prune, Replace
from reconciler.cli.session import Session
from reconciler.errors import UsageError
from reconciler.plan.model import Plan
from reconciler.state.store import StateReader
from reconciler.views.plan import plan_view, saved_text
from reconciler.workflow.saved_plans import check_place, save

if TYPE_CHECKING:
    from reconciler.workflow.refresh import UnseenHost

Refresh = Annotated[
    bool, typer.Option("--refresh", envvar="RECONCILER_REFRESH", help="Compare the hosts first, as apply does.")
]
Rehearse = Annotated[
    bool,
    typer.Option(
        "--rehearse",
        envvar="RECONCILER_REHEARSE",
        help="Simulate the plan: stop it at every interruption point, and check that one more apply completes it.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="FILE", envvar="RECONCILER_OUT", help="Save the plan, for `reconciler apply FILE`."
    ),
]
DetailedExitcode = Annotated[
    bool,
    typer.Option(
        "--detailed-exitcode",
        envvar="RECONCILER_DETAILED_EXITCODE",
        help="Exit 0 for no changes, 2 for changes, 1 for an error.",
    ),
]
Full = Annotated[
    bool,
    typer.Option("--full", envvar="RECONCILER_FULL", help="Show every resource, also if the plan has many VMs."),
]
CHANGES = 2
"""The exit code of `--detailed-exitcode` if there is something to do."""


def plan(  # noqa: PLR0913 - one parameter for each option
    session: Session,
    paths: Paths = None,
    *,
    refresh: Refresh = False,
    replace: Replace = None,
    prune: Prune = False,
    allow_destroy: AllowDestroy = False,
    rehearse: Rehearse = False,
    out: Out = None,
    detailed_exitcode: DetailedExitcode = False,
    full: Full = False,
) -> int:
    """Show what apply would change, and why. Changes nothing, and contacts no host without --refresh.

    With --refresh, a host that could not be read is named, and the exit code is 1.

    With -o the plan is saved too: apply performs exactly that plan, and refuses it if its inputs have changed.

    With --rehearse an apply is simulated in memory, from the state. It is stopped at each interruption point; one more
    apply must give the same result as an apply without interruption. If not, the error names the point, and no plan
    is saved.

    Examples:
      reconciler plan
      reconciler plan slices/two-vms.yaml
      reconciler plan --refresh slices/two-vms.yaml
      reconciler plan --json slices/ | jq .counts
      reconciler plan -o two-vms.plan slices/two-vms.yaml
      reconciler plan --prune slices/
      reconciler plan --rehearse slices/two-vms.yaml
    """
    if rehearse and refresh:
        raise UsageError("--rehearse uses the state only, and --refresh uses the hosts", hint="use one of them")
    inputs = session.slice_inputs(paths or [], whole=prune)
    if out is not None:
        check_place(out, inputs)
    with session.reader(inputs.cluster) as reader:
        asked = workflow.asked(inputs, reader, paths or [], replace, prune=prune, allow_many=allow_destroy)
        planned, unseen = _plan(session, inputs, reader, asked, refresh=refresh)
        cordoned = reader.cordons()
    if not rehearse:
        session.show(plan_view(planned, unseen, cordoned, full=full))
    else:
        _show_simulated(session, planned, inputs, asked)
    if out is not None:
        save(planned, inputs, out)
        session.remark([saved_text(out)])
    if unseen:
        return 1
    return CHANGES if detailed_exitcode and not planned.empty else 0


def _plan(
    session: Session, inputs: workflow.Inputs, reader: StateReader, asked: workflow.Asked, *, refresh: bool
) -> tuple[Plan, Sequence[UnseenHost]]:
    planned = workflow.plan_unsettled(inputs, reader, asked, workflow.settled_slices(session.cluster_path()))
    if not refresh:
        return planned, ()
    from reconciler.cli.refreshing import changes_plan, concerning, refreshed  # noqa: PLC0415 - asyncio and drivers: few plans do

    seen = refreshed(session, inputs, reader, planned, asked)
    if changes_plan(seen, planned):
        planned = workflow.plan(inputs, reader, asked, seen)
        seen = concerning(inputs, seen, planned)
    return planned, seen.unseen


def _show_simulated(session: Session, planned: Plan, inputs: workflow.Inputs, asked: workflow.Asked) -> None:
    from reconciler.cli.simulating import simulate_plan  # noqa: PLC0415 - drivers: few plans are simulated
    from reconciler.views.simulation import simulated_plan_view  # noqa: PLC0415 - as above

    with session.store(inputs.cluster, read_only=True) as store:
        session.show(simulated_plan_view(planned, lambda: simulate_plan(session, inputs, store, asked)))
