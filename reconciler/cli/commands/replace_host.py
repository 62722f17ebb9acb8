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
from reconciler.workflow.replacement import prepare_replacement


def replace_host(  # noqa: PLR0913 - one parameter for each option
    session: Session,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The host that leaves.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The machine that takes its part, in the cluster file.")],
    paths: Paths = None,
    *,
    max_parallel: MaxParallel = PARALLELISM,
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
    """Let a new machine take the part of a host: its VMs go there, with their data if the host still answers.

    A worker that answers must still be in the cluster file: it is cordoned and evacuated. What a worker had that does
    not answer, or that was taken out of the file, is created on the new one; lost data is named, and accepted
    separately. A network node has no data. Put the new one into the cluster file in place of the old one, and switch
    the old one off first: two routers with one address disturb each other. If it is interrupted, run it again.

    Examples:
      reconciler replace-host worker3 worker9
      reconciler replace-host worker3 worker9 --accept-data-loss
      reconciler replace-host gateway gateway2
    """
    require_approval(auto_approve=auto_approve, hint="add --auto-approve")
    inputs = session.slice_inputs(paths or [])

    async def prepare(engine: Engine) -> PreparedApply:
        prepared = await prepare_replacement(engine, inputs, HostName(old), HostName(new))
        if prepared.asked.lost:
            sys.stderr.write(lost_host_text(old, prepared.asked.lost))
        return prepared

    options = ApplyOptions(auto_approve, max_parallel, lock_timeout, accept_data_loss)
    return run_apply(session, inputs, options, prepare)
