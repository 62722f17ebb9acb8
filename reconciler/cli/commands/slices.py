"""The verbs that show slices from the state: `status` and `show`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from reconciler import workflow
from reconciler.apply.transport.rootshell import FORWARD_SCRIPT
from reconciler.cli.options import OnHost
from reconciler.cli.session import Session
from reconciler.spec.load import ClusterFile
from reconciler.spec.models.names import SliceKey, VmName
from reconciler.state.store import StateReader
from reconciler.views.consoles import consoles
from reconciler.views.plan import plan_view
from reconciler.views.slice_tables import slice_view, status_view
from reconciler.views.slices import slice_views, with_health
from reconciler.workflow import state_admin
from reconciler.workflow.saved_plans import find_saved, read_saved


def status(session: Session, *, host: OnHost = None) -> None:
    """List the slices in the state: their VMs, links and workers, and whether their last apply completed.

    Examples:
      reconciler status
      reconciler status --json
      reconciler status --host worker3
    """
    cluster = session.inputs().cluster
    with session.reader(cluster) as store:
        slices = slice_views(store.read(None))
        there = None if host is None else state_admin.find_host(store, host).values()
    if there is not None:
        keys = {entry.resource.slice for entry in there}
        slices = tuple(one for one in slices if one.key in keys)
    session.show(status_view(slices, session.state_place(cluster)))


def show(
    session: Session,
    name: Annotated[
        str,
        typer.Argument(metavar="SLICE|FILE", help="A slice, as owner/name, name or file; or a saved plan."),
    ],
    *,
    refresh: Annotated[
        bool,
        typer.Option("--refresh", envvar="RECONCILER_REFRESH", help="Ask the workers how the VMs are."),
    ] = False,
) -> None:
    """Show one slice: its VMs with worker, addresses and VNC, and its links with VLAN and subnet; or a saved plan.

    On standard error, it adds the commands that reach the screens and serial ports of the VMs over SSH.

    With --refresh, the workers are asked for the health of each VM: healthy, missing, unknown, or the state in which
    QEMU has stopped its guest, such as paused or io-error.

    Examples:
      reconciler show admin/two-vms
      reconciler show --refresh two-vms
      reconciler show two-vms --json
      reconciler show two-vms.plan
    """
    if (saved := find_saved([Path(name)])) is not None:
        session.show(plan_view(read_saved(saved).plan))
        return
    cluster = session.inputs().cluster
    with session.reader(cluster) as store:
        (key,) = workflow.find_slices(store, session.slice_names([name]))
        found = next(one for one in slice_views(store.read({key})) if one.key == key)
        if refresh:
            found = with_health(found, _health(session, cluster, store, key))
    session.show(slice_view(found, consoles(found, cluster.cluster, FORWARD_SCRIPT)))


def _health(session: Session, cluster: ClusterFile, store: StateReader, key: SliceKey) -> Mapping[VmName, str]:
    from reconciler.cli.engines import connecting  # noqa: PLC0415 - asyncio and drivers: `show` reads the state alone
    from reconciler.cli.interrupt import run_reading  # noqa: PLC0415 - as above
    from reconciler.workflow.health import vm_health  # noqa: PLC0415 - as above

    async def work() -> Mapping[VmName, str]:
        async with connecting(session, cluster.cluster) as connector:
            return await vm_health(store, connector, key)

    return run_reading(work())
