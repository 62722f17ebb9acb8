"""The verbs about the state alone: `history`, `unlock`, and those of `state`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from reconciler import workflow
from reconciler.cli.engines import connecting
from reconciler.cli.help import Verb
from reconciler.cli.interrupt import run_reading
from reconciler.cli.options import AutoApprove, OnHost, Slices
from reconciler.cli.questions import approved
from reconciler.cli.session import Session
from reconciler.errors import UsageError
from reconciler.spec.load import ClusterFile
from reconciler.spec.models.names import HostName
from reconciler.state.export import write_export
from reconciler.state.locks.process import this_process
from reconciler.views import state as views
from reconciler.views.history import history_view, steps_view
from reconciler.workflow import state_admin
from reconciler.workflow.replacement import works_for

DECLINED = 1
"""The exit code if the answer was no."""

VERBS = (
    Verb("list", "Verbs", __name__, "list_resources", "List the resources: address, host and status."),
    Verb("show", "Verbs", __name__, "show_resource", "Show one resource with all its attributes."),
    Verb("export", "Verbs", __name__, "export_state", "Write the whole state as JSON, without locks."),
    Verb("import", "Verbs", __name__, "import_state", "Replace the state by an exported one."),
    Verb(
        "restore",
        "Verbs",
        "reconciler.cli.commands.restore",
        "restore",
        "Restore a copy that was kept before an apply, or list the copies.",
    ),
    Verb(
        "rebuild",
        "Verbs",
        "reconciler.cli.commands.rebuild",
        "rebuild",
        "Rebuild a lost state from what the hosts keep and have.",
    ),
    Verb("forget", "Verbs", __name__, "forget", "Remove resources from the state without touching hosts."),
)


def history(
    session: Session,
    apply: Annotated[
        int | None, typer.Argument(metavar="APPLY", help="The number of an apply, to see its steps. (default: all)")
    ] = None,
    *,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", metavar="N", min=1, envvar="RECONCILER_LIMIT", help="How many applies, from the latest."
        ),
    ] = 20,
) -> None:
    """List the latest applies: when, by whom, and with which result; or the steps of one of them.

    Examples:
      reconciler history
      reconciler history 12
      reconciler history --limit 100 --json
    """
    with session.reader(session.inputs().cluster) as store:
        if apply is not None:
            session.show(steps_view(state_admin.find_apply(store, apply)))
        else:
            session.show(history_view(store.history(limit)))


def unlock(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="SLICE", help="A slice, as owner/name or name, or @shared.")],
    *,
    auto_approve: AutoApprove = False,
) -> int:
    """Remove the lock of a slice, after showing who holds it.

    Usually this is not needed: an apply takes over the lock of a process that has ended on its own host, and
    `apply --lock-timeout` takes over a lock whose lease expires. A holder that is still running is stopped: from then
    on neither the state nor the hosts accept anything from it.

    Examples:
      reconciler unlock admin/two-vms
      reconciler unlock --auto-approve @shared
    """
    with session.store(session.inputs().cluster) as store:
        lock = state_admin.find_lock(store, name)
        if lock is None:
            session.show(views.free_lock_view(name))
            return 0
        life = store.life(lock, this_process())
        sys.stderr.write(views.lock_warning(lock, life))
        if not approved("Remove the lock?", auto_approve=auto_approve):
            return DECLINED
        removed = store.force_unlock(lock.name, lock.token)
    session.show(views.removed_lock_view(lock, life, removed=removed is not None))
    return 0


def list_resources(session: Session, slices: Slices = None, *, host: OnHost = None) -> None:
    """List the resources in the state: address, host and status.

    Examples:
      reconciler state list --host worker3
      reconciler state list
      reconciler state list admin/two-vms --json | jq -r '.[].address'
    """
    with session.reader(session.inputs().cluster) as store:
        scope = set(workflow.find_slices(store, session.slice_names(slices))) if slices else None
        found = store.read(scope).resources if host is None else state_admin.find_host(store, host)
    session.show(
        views.list_view(
            {address: entry for address, entry in found.items() if scope is None or entry.resource.slice in scope}
        )
    )


def show_resource(
    session: Session,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="A resource, such as vm/admin/two-vms/web.")],
) -> None:
    """Show one resource with all its attributes, and the attributes that an unfinished step was to give it.

    Example:
      reconciler state show vm/admin/two-vms/web
    """
    with session.reader(session.inputs().cluster) as store:
        (entry,) = state_admin.find_resources(store, [address]).values()
    session.show(views.resource_view(entry))


def export_state(
    session: Session,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", envvar="RECONCILER_OUTPUT", help="A file instead of stdout."),
    ] = None,
) -> None:
    """Write the whole state as JSON with a digest, without locks.

    Only the owner can read the file of -o. `state import` reads it, from SQLite or PostgreSQL into either.

    Examples:
      reconciler state export > state.json
      reconciler state export -o state.json
    """
    with session.store(session.inputs().cluster, read_only=True) as store:
        export = store.export()
    if output is None:
        sys.stdout.write(write_export(export))
        return
    state_admin.save_export(export, output)
    session.show(views.exported_view(export, output))


def import_state(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `state export` wrote.")],
    *,
    auto_approve: AutoApprove = False,
) -> int:
    """Replace the state by an exported one. Contacts no host.

    An empty state can be replaced by any. Another one can be replaced only by a state of the same lineage whose serial
    is not lower. The replaced state is exported to a file first.

    Examples:
      reconciler state import state.json
      reconciler --state postgresql://ops@db/campus state import state.json
    """
    export = state_admin.read_file(file)
    cluster = session.inputs().cluster
    with session.store(cluster) as store:
        store.check_import(export)
        sys.stderr.write(views.import_warning(export, file))
        if not approved("Import it?", auto_approve=auto_approve):
            return DECLINED
        backup = state_admin.backup_place(cluster.cluster, session.state)
        imported = state_admin.import_state(store, export, this_process(), backup)
    session.show(views.imported_view(imported, file))
    return 0


def forget(
    session: Session,
    addresses: Annotated[list[str], typer.Argument(metavar="ADDRESS", help="Resources, such as vm/admin/web/a.")],
    *,
    auto_approve: AutoApprove = False,
) -> int:
    """Remove resources from the state without touching hosts. What is on the hosts stays there, unmanaged.

    Use it for resources that certainly no longer exist although their host cannot confirm that. If a slice file still
    declares them, the next apply creates them again.

    Example:
      reconciler state forget vm/admin/two-vms/web disk/admin/two-vms/web
    """
    with session.store(session.inputs().cluster) as store:
        found = state_admin.find_resources(store, addresses)
        sys.stderr.write(views.forget_warnings(found.values()))
        if not approved("Remove from the state?", auto_approve=auto_approve):
            return DECLINED
        gone = state_admin.forget(store, found, this_process())
    session.show(views.forgotten_view(gone))
    return 0


def forget_host(
    session: Session,
    host: Annotated[str, typer.Argument(metavar="HOST", help="A host that does not come back, such as worker3.")],
    *,
    auto_approve: AutoApprove = False,
) -> int:
    """Remove everything on a host from the state, and change nothing on hosts. Its disks and their data are given up.

    Use it for a host that does not come back. A host of the cluster file that answers and works for this state is
    refused: what runs there would run on, unmanaged. Remove the host from the cluster file too: then the next apply
    creates its VMs on other workers, with the same ids, addresses and MACs. If it was installed again, leave it there.

    Examples:
      reconciler forget worker3
      reconciler forget worker3 --auto-approve
    """
    cluster = session.inputs().cluster
    with session.store(cluster) as store:
        found = state_admin.find_host(store, host)
        listed = host in {each.name for each in cluster.cluster.hosts()}
        if listed:
            _refuse_working(session, cluster, HostName(host), store.read(()).lineage)
        sys.stderr.write(views.forget_host_warning(host, found.values(), listed=listed))
        if not approved(f"Give up what is on {host}?", auto_approve=auto_approve):
            return DECLINED
        gone = state_admin.forget(store, found, this_process())
    session.show(views.forgotten_view(gone))
    return 0


def _refuse_working(session: Session, cluster: ClusterFile, host: HostName, lineage: str) -> None:
    """Raise UsageError if a host still works for the state: its VMs would run on, and nothing would know of them."""

    async def ask() -> bool:
        async with connecting(session, cluster.cluster) as connector:
            return await works_for(connector, lineage, host)

    if run_reading(ask()):
        raise UsageError(
            f"{host} answers and works for this state, so what it has would run on unmanaged",
            hint=f"`reconciler evacuate {host}` moves its VMs away, `reconciler replace-host {host} NEW` to a new one; "
            "or take it out of the cluster file first",
        )
