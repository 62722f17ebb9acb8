"""The verb `evacuate`: moves all VMs away from a worker."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.commands.apply import ApplyOptions, run_apply
from reconciler.cli.options import PARALLELISM, AutoApprove, LockTimeout, MaxParallel, Paths
from reconciler.cli.questions import require_approval
from reconciler.cli.session import Session
from reconciler.engine import Engine
from reconciler.errors import UsageError
from reconciler.workflow import state_admin
from reconciler.workflow.applying import PreparedApply
from reconciler.workflow.evacuation import MOVES_AT_ONCE, prepare_evacuation


def evacuate(  # noqa: PLR0913 - one parameter for each option
    session: Session,
    host: Annotated[str, typer.Argument(metavar="HOST", help="The worker to move all VMs away from.")],
    paths: Paths = None,
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="HOST", help="The worker to move them to. (default: any with room)")
    ] = None,
    max_parallel: MaxParallel = MOVES_AT_ONCE,
    auto_approve: AutoApprove = False,
    lock_timeout: LockTimeout = 0.0,
) -> int:
    """Move all VMs away from a worker with their disks, numbers and addresses, so that it can be serviced.

    The worker is cordoned, also if the plan is declined. The plan covers every slice that has VMs there, so the files
    of these slices are needed. A VM is down while its disk is copied; the others run on until it is their turn. If a VM
    cannot be moved, those after it stay. After an interruption, run the command again.

    Examples:
      reconciler evacuate worker3
      reconciler evacuate worker3 --to worker4 --max-parallel 2
      reconciler evacuate worker3 --auto-approve slices/ && reconciler doctor
    """
    require_approval(auto_approve=auto_approve, hint="add --auto-approve")
    inputs = session.slice_inputs(paths or [])
    worker = state_admin.find_worker(inputs.cluster.cluster, host)
    target = None if to is None else state_admin.find_worker(inputs.cluster.cluster, to)
    if target == worker:
        raise UsageError(f"{worker} cannot be evacuated to itself", hint="name another worker with --to")

    async def prepare(engine: Engine) -> PreparedApply:
        return await prepare_evacuation(engine, inputs, worker, target, moves_at_once=max_parallel)

    return run_apply(session, inputs, ApplyOptions(auto_approve, PARALLELISM, lock_timeout), prepare)
