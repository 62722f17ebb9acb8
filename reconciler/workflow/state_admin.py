"""Corrects the state without contacting hosts: finds and removes locks, exports, imports, and forgets resources."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import Code, UsageError
from reconciler.plan.snapshot import SHARED, ResourceState
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, HostName
from reconciler.spec.quoting import did_you_mean
from reconciler.state.copies import keep, write_private
from reconciler.state.export import Export, read_export, write_export
from reconciler.state.location import default_place, place_of, sqlite_file
from reconciler.state.store import ApplyId, Holder, JournalEntry, Lock, StateReader
from reconciler.workflow.planning import find_slices

if TYPE_CHECKING:  # SQLAlchemy: readers of the state do without it
    from reconciler.state.sql.store import SqlStore

_LARGEST = 2**30
"""The largest file that an import reads, in bytes; the state of 10,000 VMs is a tenth of it."""


@dataclass(frozen=True, slots=True)
class Imported:
    """An export that has replaced a state, and where the replaced state was saved (None if it was empty)."""

    export: Export
    kept: Path | None


def find_resources(reader: StateReader, addresses: Sequence[str]) -> dict[Address, ResourceState]:
    """Return the resources of these addresses, each once; raises UsageError if one is not in the state."""
    resources = reader.read(None).resources
    unknown = [address for address in addresses if address not in resources]
    if unknown:
        near = get_close_matches(unknown[0], resources, n=1)
        hint = f"did you mean {near[0]}?" if near else "`reconciler state list` lists the addresses"
        raise UsageError(f"{', '.join(unknown)}: not in the state", hint=hint)
    return {address: entry for address, entry in resources.items() if address in addresses}


def find_host(reader: StateReader, host: str) -> dict[Address, ResourceState]:
    """Return the resources on a host; raises UsageError if the state has none there."""
    resources = reader.read(None).resources
    found = {where: entry for where, entry in resources.items() if entry.resource.host == host}
    if not found:
        hosts = {entry.resource.host for entry in resources.values()}
        raise UsageError(f"the state has nothing on {host}", hint=did_you_mean(host, hosts))
    return found


def find_worker(cluster: Cluster, name: str, others: Collection[HostName] = ()) -> HostName:
    """Return a worker of the cluster file, or another known host; raises UsageError if there is none of this name."""
    known = {*(worker.name for worker in cluster.workers), *others}
    if name in known:
        return HostName(name)
    if name == cluster.network_node.name:
        raise UsageError(f"{name} is the network node: it has no VMs", hint=f"workers: {', '.join(sorted(known))}")
    raise UsageError(f"the cluster file has no worker {name!r}", hint=did_you_mean(name, known))


def find_lock(reader: StateReader, name: str) -> Lock | None:
    """Return the lock of a slice if it is held; raises UsageError for an unknown or ambiguous name."""
    found = [lock for lock in reader.locks() if name in {lock.name, lock.name.partition("/")[2]}]
    if len(found) > 1:
        named = " or ".join(lock.name for lock in found)
        raise UsageError(f"{name} could be {named}", hint="name the slice as owner/name")
    if not found and name != SHARED:
        find_slices(reader, [name])
    return found[0] if found else None


def find_apply(reader: StateReader, number: int) -> tuple[JournalEntry, ...]:
    """Return the steps of an apply; raises UsageError if there is no apply of this number."""
    latest = reader.history(1)
    if not latest or not 1 <= number <= latest[0].id:
        raise UsageError(f"there is no apply {number} in the history", hint="`reconciler history` lists them")
    return reader.journal(ApplyId(number))


def save_export(export: Export, output: Path) -> None:
    """Write an export to a file that only its owner can read."""
    write_private(output, write_export(export))


def read_file(file: Path) -> Export:
    """Read an export; raises UsageError if the file cannot be read, StateError if it is not a valid export."""
    try:
        if file.stat().st_size > _LARGEST:
            raise UsageError(f"{file} is larger than any state", code=Code.FILE_UNREADABLE)
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not valid UTF-8"
        raise UsageError(f"{file} cannot be read: {reason}", code=Code.FILE_UNREADABLE) from error
    return read_export(text, str(file))


def import_state(store: SqlStore, export: Export, holder: Holder, backup: Path, *, older: bool = False) -> Imported:
    """Replace a state by an export; the replaced state is first saved next to `backup`.

    An export that is older is refused, unless `older` allows it.
    """
    kept: list[Path] = []

    def save(before: Export) -> None:
        backup.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{backup.name}.before-import-{before.serial}.json"
        kept.append(keep(backup.with_name(name), write_export(before)))

    store.import_state(export, holder, save, older=older)
    return Imported(export, kept[0] if kept else None)


def backup_place(cluster: Cluster, state: str | None) -> Path:
    """Return the file beside which a replaced state is saved: the state's own, or the default one for a server."""
    return sqlite_file(place_of(cluster, state)) or default_place(cluster.name, cluster.id)


def forget(store: SqlStore, found: Mapping[Address, ResourceState], holder: Holder) -> Mapping[Address, ResourceState]:
    """Remove resources from the state, under the locks of their slices; raises StateLocked if one is held."""
    with store.lock(_locks_of(found.values()), holder):
        return store.forget(list(found))


def _locks_of(entries: Iterable[ResourceState]) -> set[str]:
    return {entry.resource.slice or SHARED for entry in entries}
