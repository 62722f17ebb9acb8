"""Verbs about the record alone: `history`, `unlock`, and `state` with what it holds, its copies and its mending."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.commands.apply import AutoApprove, confirm
from reconciler.cli.session import Session, holder, with_session
from reconciler.errors import Code, UsageError
from reconciler.spec.quoting import escape, plural

if TYPE_CHECKING:
    from reconciler.plan.snapshot import ResourceState
    from reconciler.spec.models.names import Address
    from reconciler.state.export import Export
    from reconciler.state.store import HistoryEntry, Holder, JournalEntry, Life, Lock, StateReader

DECLINED = 1
"""The exit code where the answer was no."""

_MOMENT = "%Y-%m-%d %H:%M:%S"
_LARGEST = 2**30
"""The largest file that an import reads, in bytes; a record of 10,000 VMs takes a tenth of it."""


def app() -> typer.Typer:
    """Build the group of verbs under `state`."""
    group = typer.Typer(no_args_is_help=True, help="Show, export, import and edit the state.")
    group.command("list")(with_session(list_resources))
    group.command("show")(with_session(show_resource))
    group.command("export")(with_session(export_record))
    group.command("import")(with_session(import_record))
    group.command("forget")(with_session(forget))
    return group


def history(
    session: Session,
    apply: Annotated[
        int | None, typer.Argument(metavar="[APPLY]", help="Number of an apply, to show its steps. (default: all)")
    ] = None,
    *,
    limit: Annotated[
        int, typer.Option("--limit", min=1, envvar="RECONCILER_LIMIT", help="Number of applies, from the latest.")
    ] = 20,
) -> None:
    """List the latest applies with time, user and result, or show the steps of one.

    [bold]Examples[/bold]

      reconciler history
      reconciler history 12
      reconciler history --limit 100 --json
    """
    with session.reader(session.inputs().cluster) as store:
        if apply is not None:
            _tell_steps(session, _journal(store, apply))
        else:
            _tell_applies(session, store.history(limit))


def unlock(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="SLICE", help="A slice, as owner/name or name, or @shared.")],
    *,
    auto_approve: AutoApprove = False,
) -> int:
    """Remove a slice's lock, after showing who holds it.

    This is rarely needed. On its own machine, the lock of a process that has ended is taken over automatically, and
    `apply --lock-timeout` takes over when the holder's lease expires. If the holder still runs, it is stopped: the
    state and the hosts refuse everything it sends from then on.

    [bold]Examples[/bold]

      reconciler unlock admin/two-vms
      reconciler unlock --auto-approve @shared
    """
    with session.store(session.inputs().cluster) as store:
        lock = _find_lock(store, name)
        if lock is None:
            _tell(session, {"lock": name, "unlocked": False}, f"Nobody holds the lock of {name}.")
            return 0
        life = store.life(lock, holder())
        sys.stderr.write(f"{_lock_words(lock, life)}\n")
        if not _agreed("Take the lock away?", auto_approve=auto_approve):
            return DECLINED
        removed = store.force_unlock(lock.name, lock.token)
    data = _lock_data(lock, life) | {"unlocked": removed is not None}
    done = f"Unlocked {lock.name}." if removed else f"{lock.name} was given back meanwhile; nothing was changed."
    _tell(session, data, done)
    return 0


def list_resources(
    session: Session,
    slices: Annotated[list[str] | None, typer.Argument(metavar="[SLICE]...", help="Slices. (default: all)")] = None,
) -> None:
    """List the resources in the state: address, host and status.

    [bold]Examples[/bold]

      reconciler state list
      reconciler state list admin/two-vms --json | jq -r '.[].address'
    """
    from reconciler import workflow  # noqa: PLC0415
    from reconciler.cli.tables import table  # noqa: PLC0415

    with session.reader(session.inputs().cluster) as store:
        scope = set(workflow.find_slices(store, slices)) if slices else None
        found = store.read(scope).resources
    rows = [
        {"address": address, "host": entry.resource.host, "status": entry.status.value}
        for address, entry in found.items()
        if scope is None or entry.resource.slice in scope
    ]
    if session.json:
        session.print_json(rows)
    elif rows:
        session.console().print(table(rows))
    else:
        sys.stdout.write("No resource is recorded.\n")


def show_resource(
    session: Session,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="A resource, such as vm/admin/two-vms/web.")],
) -> None:
    """Show one resource in the state with all its attributes, and what an unfinished step would change.

    [bold]Example[/bold]

      reconciler state show vm/admin/two-vms/web
    """
    from reconciler.views.values import show_change  # noqa: PLC0415

    with session.reader(session.inputs().cluster) as store:
        ((_, entry),) = _find(store, [address]).items()
    data = _entry_data(entry)
    if session.json:
        session.print_json(data)
        return
    pending = data["pending"] or {}
    sys.stdout.write(f"{address} on {entry.resource.host}: {entry.status}\n")
    for name, value in data["attributes"].items():
        shown, becoming = show_change(name, value, pending.get(name, value))
        more = f" -> {becoming}" if pending.get(name, value) != value else ""
        sys.stdout.write(f"  {name} = {shown}{more}\n")


def export_record(
    session: Session,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            envvar="RECONCILER_OUTPUT",
            help="File to write instead of standard output.",
        ),
    ] = None,
) -> None:
    """Write the whole state as JSON, with a digest that detects edits. Locks are not included.

    Only the owner can read the file given with -o. `state import` reads it into SQLite or PostgreSQL.

    [bold]Examples[/bold]

      reconciler state export > state.json
      reconciler state export -o state.json
    """
    from reconciler.state.copies import write_private  # noqa: PLC0415
    from reconciler.state.export import write_export  # noqa: PLC0415

    with session.store(session.inputs().cluster, read_only=True) as store:
        export = store.export()
    if output is None:
        sys.stdout.write(write_export(export))
        return
    write_private(output, write_export(export))
    data = _export_data(export) | {"written": str(output)}
    _tell(session, data, f"Wrote {output}: {_contents(export)}.")


def import_record(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `state export` wrote.")],
    *,
    auto_approve: AutoApprove = False,
) -> int:
    """Replace the state by an exported one. Contacts no host.

    An empty state accepts any export; another state only one of its own lineage whose serial is not lower. The replaced
    state is exported to a file first.

    [bold]Examples[/bold]

      reconciler state import state.json
      reconciler --state postgresql://ops@db/campus state import state.json
    """
    from reconciler.state.export import read_export  # noqa: PLC0415

    export = read_export(_read(file), str(file))
    cluster = session.inputs().cluster
    kept: list[Path] = []
    with session.store(cluster) as store:
        store.check_import(export)
        sys.stderr.write(f"{file} has {_contents(export)}; it takes the place of this record.\n")
        if not _agreed("Import it?", auto_approve=auto_approve):
            return DECLINED
        folder = _backups(session, cluster.cluster.name)
        store.import_state(export, holder(), lambda before: kept.append(_keep(folder, before)))
    data = _export_data(export) | {"imported": str(file), "kept": str(kept[0]) if kept else None}
    saved = f" What was here is kept in {kept[0]}." if kept else ""
    _tell(session, data, f"Imported {file}.{saved}")
    return 0


def forget(
    session: Session,
    addresses: Annotated[list[str], typer.Argument(metavar="ADDRESS...", help="Resources, such as vm/admin/web/a.")],
    *,
    auto_approve: AutoApprove = False,
) -> int:
    """Remove resources from the state without touching hosts.

    Use this for resources that are gone although their host cannot confirm it. What still exists on hosts is no longer
    managed. If a slice file still asks for a resource, the next apply creates it again.

    [bold]Example[/bold]

      reconciler state forget vm/admin/two-vms/web disk/admin/two-vms/web
    """
    with session.store(session.inputs().cluster) as store:
        found = _find(store, addresses)
        for address, entry in found.items():
            sys.stderr.write(f"{address} ({entry.status}) will be forgotten; what stands on {_where(entry)} stays\n")
        if not _agreed("Forget it?", auto_approve=auto_approve):
            return DECLINED
        with store.lock(_locks_of(found.values()), holder()):
            gone = store.forget(list(found))
    resources = [{"address": address, "host": entry.resource.host} for address, entry in gone.items()]
    _tell(session, {"forgotten": resources}, f"Forgot {plural(len(gone), 'resource')}. No host was contacted.")
    return 0


def _tell(session: Session, data: Mapping[str, Any], words: str) -> None:
    if session.json:
        session.print_json(data)
    else:
        sys.stdout.write(f"{escape(words)}\n")


def _agreed(question: str, *, auto_approve: bool) -> bool:
    """Ask, unless that is spared; raises UsageError where there is nobody to ask."""
    if auto_approve:
        return True
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask on, so nothing was changed", hint="add --auto-approve to go on without asking"
        )
    if confirm(question):
        return True
    sys.stderr.write("Nothing was changed.\n")
    return False


def _find(store: StateReader, addresses: Sequence[str]) -> dict[Address, ResourceState]:
    """Return the recorded resources of these addresses, each once; raises UsageError where one is not recorded."""
    from difflib import get_close_matches  # noqa: PLC0415

    resources = store.read(None).resources
    unknown = [address for address in addresses if address not in resources]
    if unknown:
        near = get_close_matches(unknown[0], resources, n=1)
        hint = f"did you mean {near[0]}?" if near else "`reconciler state list` lists what is"
        raise UsageError(f"{', '.join(unknown)}: not recorded", hint=hint)
    return {address: entry for address, entry in resources.items() if address in addresses}


def _entry_data(entry: ResourceState) -> dict[str, Any]:
    from reconciler.plan.resources import to_data  # noqa: PLC0415

    return {
        "address": entry.resource.address,
        "host": entry.resource.host,
        "status": entry.status.value,
        "attributes": to_data(entry.resource),
        "pending": None if entry.pending is None else to_data(entry.pending),
    }


def _where(entry: ResourceState) -> str:
    from reconciler.views.values import essence  # noqa: PLC0415

    return f"{entry.resource.host} ({essence(entry.resource)})"


def _locks_of(entries: Iterable[ResourceState]) -> set[str]:
    from reconciler.plan.snapshot import SHARED  # noqa: PLC0415

    return {entry.resource.slice or SHARED for entry in entries}


def _find_lock(store: StateReader, name: str) -> Lock | None:
    """Find a held lock by its slice; raises UsageError for a name that is neither locked nor recorded, or unclear."""
    from reconciler import workflow  # noqa: PLC0415
    from reconciler.plan.snapshot import SHARED  # noqa: PLC0415

    found = [lock for lock in store.locks() if name in {lock.name, lock.name.partition("/")[2]}]
    if len(found) > 1:
        named = " or ".join(lock.name for lock in found)
        raise UsageError(f"{name} could be {named}", hint="name the slice as owner/name")
    if not found and name != SHARED:
        workflow.find_slices(store, [name])
    return found[0] if found else None


_SEEMS = {
    "alive": "It seems to be at work. Whatever it still sends is refused from then on: ask whoever it is first.",
    "silent": "It has shown no sign of life for long. Should it come back, whatever it still sends is refused.",
    "ended": "Its process has ended.",
}


def _lock_words(lock: Lock, life: Life) -> str:
    return (
        f"warning: {lock.name} is locked by {lock.holder} since {lock.since.strftime(_MOMENT)} UTC\n"
        f"  Its last sign of life: {lock.alive.strftime(_MOMENT)} UTC. {_SEEMS[life]}"
    )


def _lock_data(lock: Lock, life: Life) -> dict[str, Any]:
    return {
        "lock": lock.name,
        "holder": asdict(lock.holder),
        "since": lock.since.isoformat(),
        "last_sign_of_life": lock.alive.isoformat(),
        "seems": life.value,
    }


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST:
            raise UsageError(f"{file} is larger than any record", code=Code.FILE_UNREADABLE)
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{file} cannot be read: {said}", code=Code.FILE_UNREADABLE) from error


def _backups(session: Session, cluster: str) -> Path:
    """Return the file whose folder and name the copies of a record get: its own, or the default one for a server's."""
    from reconciler.state.location import default_place, sqlite_file  # noqa: PLC0415

    place = default_place(cluster)
    return sqlite_file(session.state or place) or place


def _keep(place: Path, before: Export) -> Path:
    from reconciler.state.copies import keep  # noqa: PLC0415
    from reconciler.state.export import write_export  # noqa: PLC0415

    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return keep(place.with_name(f"{place.name}.before-import-{before.serial}.json"), write_export(before))


def _export_data(export: Export) -> dict[str, Any]:
    return {"lineage": export.lineage, "serial": export.serial, "resources": len(export.resources)}


def _contents(export: Export) -> str:
    counts = f"{plural(len(export.slices), 'slice')}, {plural(len(export.resources), 'resource')}"
    return f"cluster {export.cluster}, serial {export.serial}, {counts}, lineage {export.lineage or 'of none'}"


def _journal(store: StateReader, number: int) -> Sequence[JournalEntry]:
    from reconciler.state.store import ApplyId  # noqa: PLC0415

    latest = store.history(1)
    if not latest or not 1 <= number <= latest[0].id:
        raise UsageError(f"no apply {number} is recorded", hint="`reconciler history` lists them")
    return store.journal(ApplyId(number))


def _tell_steps(session: Session, entries: Sequence[JournalEntry]) -> None:
    from reconciler.cli.tables import table  # noqa: PLC0415

    rows = [
        {
            "step": entry.step,
            "action": entry.action,
            "address": entry.address,
            "host": entry.host,
            "outcome": entry.status,
            "words": entry.message or None,
        }
        for entry in entries
    ]
    if session.json:
        times = [
            {"intended": entry.intended.isoformat(), "recorded": entry.finished.isoformat() if entry.finished else None}
            for entry in entries
        ]
        session.print_json([row | time for row, time in zip(rows, times, strict=True)])
    elif rows:
        session.console().print(table(rows))
    else:
        sys.stdout.write("That apply attempted no step.\n")


def _tell_applies(session: Session, applies: Sequence[HistoryEntry]) -> None:
    from reconciler.cli.tables import table  # noqa: PLC0415

    if session.json:
        session.print_json([_apply_data(applied) for applied in applies])
    elif applies:
        session.console().print(table([_apply_row(applied) for applied in applies]))
    else:
        sys.stdout.write("Nothing has been applied.\n")


def _apply_data(applied: HistoryEntry) -> dict[str, Any]:
    return asdict(applied) | {
        "started": applied.started.isoformat(),
        "finished": applied.finished.isoformat() if applied.finished else None,
    }


def _apply_row(applied: HistoryEntry) -> dict[str, Any]:
    seconds = (applied.finished - applied.started).total_seconds() if applied.finished else None
    return {
        "apply": applied.id,
        "started": f"{applied.started.strftime(_MOMENT)} UTC",
        "by": _who(applied.holder),
        "seconds": None if seconds is None else f"{seconds:.1f}",
        "result": applied.result or "not finished",
        "done": applied.done,
        "failed": applied.failed,
        "skipped": applied.skipped,
        "slices": applied.slices,
    }


def _who(holder: Holder) -> str:
    return f"{holder.user}@{holder.host}"
