"""The verbs `cordon` and `uncordon`: whether a worker takes new VMs."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.session import Session
from reconciler.state.locks.process import this_process
from reconciler.views.cordons import cordon_view
from reconciler.workflow import state_admin

Worker = Annotated[str, typer.Argument(metavar="HOST", help="A worker of the cluster file, such as worker3.")]


def cordon(session: Session, host: Worker) -> None:
    """Place no new VMs on a worker, from the next plan on. What is there stays as it is; contacts no host.

    The state keeps who decided that, and when. VMs there can be changed and deleted as usual. A new VM that has the
    worker in its slice file is an error.

    Examples:
      reconciler cordon worker3
      reconciler cordon worker3 --json | jq -r .since
    """
    inputs = session.inputs()
    with session.store(inputs.cluster) as store:
        worker = state_admin.find_worker(inputs.cluster.cluster, host)
        made = store.cordon(worker, this_process().user)
    session.show(cordon_view(worker, made, cordoned=True))


def uncordon(session: Session, host: Worker) -> None:
    """Place new VMs on a worker again. Contacts no host.

    Example:
      reconciler uncordon worker3
    """
    inputs = session.inputs()
    with session.store(inputs.cluster) as store:
        worker = state_admin.find_worker(inputs.cluster.cluster, host, store.cordons())
        had = store.uncordon(worker)
    session.show(cordon_view(worker, had, cordoned=False))
