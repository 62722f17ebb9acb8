"""The verb `replace-host`: moves everything of a host to a new machine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reconciler.cli.commands.apply import ApplyOptions, run_apply
from reconciler.cli.options import PARALLELISM, AutoApprove, LockTimeout, MaxParallel, Paths
from reconciler.cli.questions import require_approval
from reconciler.cli.session import Session
from reconciler.engine import Engine
from reconciler.spec.models.names import HostName
from reconciler.views.hosts import lost_host_text
from reconciler.workflow.applying import PreparedApply
from reconciler.workflow.evacuation import MOVES_AT_ONCE
from reconciler.workflow.replacement import prepare_replacement


def replace_host(  # noqa: PLR0913 - one parameter for each option
    session: Session,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The host to replace.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new machine, which is in the cluster file.")],
    paths: Paths = None,
    *,
    max_parallel: MaxParallel = MOVES_AT_ONCE,
    accept_data_loss: Annotated[
        bool,
        typer.Option(
            "--accept-data-loss",
            envvar="RECONCILER_ACCEPT_DATA_LOSS",
            help="Replace a host that does not come back even if VMs lose their data.",
        ),
    ] = False,
    auto_approve: AutoApprove = False,
    lock_timeout: LockTimeout = 0.0,
) -> int:
    """Replace a host with a new machine: its VMs go there, with their data if the old host still answers.

    An old worker that answers must still be in the cluster file: it is cordoned and evacuated. If it does not answer,
    or was removed from the file, its VMs are created on the new worker; the data that this loses is named, and must be
    accepted separately.

    A network node has no data. Write the new one into the cluster file in place of the old one, and switch the old one
    off first: two routers with the same address disturb each other. After an interruption, run the command again.

    Examples:
      reconciler replace-host worker3 worker9
      reconciler replace-host worker3 worker9 --accept-data-loss
      reconciler replace-host gateway gateway2
    """
    require_approval(auto_approve=auto_approve, hint="add --auto-approve")
    inputs = session.slice_inputs(paths or [])

    async def prepare(engine: Engine) -> PreparedApply:
        prepared = await prepare_replacement(engine, inputs, HostName(old), HostName(new), max_parallel)
        if prepared.asked.lost:
            sys.stderr.write(lost_host_text(old, prepared.asked.lost))
        return prepared

    options = ApplyOptions(auto_approve, PARALLELISM, lock_timeout, accept_data_loss)
    return run_apply(session, inputs, options, prepare)
