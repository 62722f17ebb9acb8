"""Lists the copies of a state that were kept before applies, and restores one."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import StateError, StateUnreadable, UsageError
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.quoting import did_you_mean
from reconciler.state.copies import copy_database, database_copies, set_aside
from reconciler.state.export import Export
from reconciler.state.location import place_of, sqlite_file
from reconciler.state.sql.store import open_state
from reconciler.state.store import Holder
from reconciler.workflow.state_admin import import_state


@dataclass(frozen=True, slots=True)
class KeptCopy:
    """A copy of a state: the file and its content."""

    file: Path
    export: Export

    @property
    def name(self) -> str:
        """The name by which the copy is restored: when it was made."""
        return self.file.stem


@dataclass(frozen=True, slots=True)
class Restored:
    """A copy that has replaced a state, and where the replaced state was saved (None if there was none)."""

    copy: KeptCopy
    kept: Path | None


def state_file(cluster: Cluster, where: str | None) -> Path:
    """Return the SQLite file of a state; raises UsageError for a database server, which has backups of its own."""
    file = sqlite_file(place_of(cluster, where))
    if file is None:
        raise UsageError(
            "only the state in a SQLite file has copies here",
            hint="restore a database server from its own backups, then run `reconciler state rebuild`",
        )
    return file


def kept_copies(cluster: Cluster, file: Path) -> list[KeptCopy]:
    """Return the copies of a state that can be read, newest first."""
    found = []
    for path in database_copies(file):
        try:
            found.append(_read(cluster, path))
        except StateError:
            continue
    return found


def find_copy(cluster: Cluster, file: Path, name: str) -> KeptCopy:
    """Return a copy by its name, or `latest`; raises UsageError if there is none, StateError if it is damaged."""
    paths = {path.stem: path for path in database_copies(file)}
    if name == "latest" and paths:
        return _read(cluster, next(iter(paths.values())))
    if name not in paths:
        raise UsageError(f"there is no copy {name!r} of the state", hint=did_you_mean(name, paths))
    return _read(cluster, paths[name])


def _read(cluster: Cluster, path: Path) -> KeptCopy:
    with closing(open_state(cluster, str(path), read_only=True)) as store:
        return KeptCopy(path, store.export())


def restore(cluster: Cluster, file: Path, copy: KeptCopy, holder: Holder) -> Restored:
    """Replace the state in a file by a copy; the replaced state is saved first, and a damaged one is renamed."""
    try:
        store = open_state(cluster, str(file))
    except StateUnreadable:
        kept = set_aside(file)
        copy_database(copy.file, file)
        return Restored(copy, kept)
    with closing(store):
        return Restored(copy, import_state(store, copy.export, holder, file, older=True).kept)
