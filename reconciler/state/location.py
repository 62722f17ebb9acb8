"""Finds and creates the file of a state; needs no SQL library."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING
from urllib.parse import quote

from platformdirs import user_state_dir

from reconciler.errors import StateError, StateUnreadable
from reconciler.files import create_beside, sync
from reconciler.state.faults import RESTORE

if TYPE_CHECKING:
    from reconciler.spec.models.cluster import Cluster

FORMS = "write a path, sqlite:///PATH, or postgresql://USER@HOST/DATABASE"
"""How a user may name the place of a state."""

_SQLITE = "sqlite:///"
_LONGEST = 255 - 33
"""The longest file name, in bytes, less what is added to it while a state is created."""


def default_place(cluster: str, identity: str | None = None) -> Path:
    """Return the file of a cluster's state where none is named: one for each name and id of a cluster."""
    name = quote(cluster, safe="")
    return Path(user_state_dir("reconciler")) / (f"{name}.db" if identity is None else f"{name}-{identity}.db")


def place_of(cluster: Cluster, where: str | None) -> str:
    """Return the place of a cluster's state: the one that is named, else the default one."""
    return where or str(default_place(cluster.name, cluster.id))


def sqlite_file(where: str | Path) -> Path | None:
    """Return the SQLite file that a path or a plain `sqlite:///PATH` names, None for any other URL.

    Raises StateError for a name that no file can have.
    """
    if isinstance(where, str) and "://" in where:
        path = where.removeprefix(_SQLITE)
        if path in (where, "", ":memory:") or "?" in path:
            return None
        where = path
    if "\0" in str(where) or any(len(os.fsencode(part)) > _LONGEST for part in Path(where).parts):
        raise StateError("no file can have the name that is given for the state", hint=FORMS)
    return Path(where).expanduser().absolute()


def inspect(file: Path) -> None:
    """Check that a file may be a state, without opening it; SQLite itself checks whether it is a database.

    Closing a file that SQLite has open elsewhere in this process would release the locks of all its connections there
    (https://www.sqlite.org/howtocorrupt.html, 2.2), and another process would then delete their write-ahead log. Raises
    StateUnreadable for an empty file (a truncated state, not a new one), StateError where it is not a regular file.
    """
    try:
        found = file.stat()
    except OSError as error:
        raise StateError(f"the state {file} cannot be opened: {error.strerror}") from error
    if not S_ISREG(found.st_mode):
        raise StateError(f"the state {file} cannot be opened: it is not a regular file", hint=_ELSEWHERE)
    if found.st_size == 0:
        raise StateUnreadable(f"the state {file} is damaged: it is empty", hint=RESTORE)


def is_missing(file: Path) -> bool:
    """Whether there is no state; raises StateUnreadable where only its write-ahead log is left.

    SQLite would apply such a log to any other database of that name.
    """
    log = file.with_name(f"{file.name}-wal")
    if file.exists():
        return False
    if log.exists() and not file.exists():  # checked again: another process may have created both meanwhile
        raise StateUnreadable(f"the state {file} is missing, but {log.name} is still beside it", hint=RESTORE)
    return True


def reserve(file: Path) -> Path:
    """Create an empty private file beside `file`, in which the state is made before it is published.

    Creates the folder where it is missing. Raises StateError where that is not allowed.
    """
    try:
        _make_folder(file.parent)
        return create_beside(file)
    except OSError as error:
        raise StateError(f"the state {file} cannot be created: {error.strerror}", hint=_ELSEWHERE) from error


_ELSEWHERE = "name another place with --state"


def publish(fresh: Path, file: Path) -> None:
    """Give a finished file its name, unless another process was first: then that file is kept. Survives a crash."""
    try:
        sync(fresh)
        os.link(fresh, file)
        sync(file.parent)
    except FileExistsError:
        pass
    except OSError as error:
        raise StateError(f"the state {file} cannot be created: {error.strerror}", hint=_ELSEWHERE) from error


def discard(fresh: Path) -> None:
    """Delete what `reserve` created, and what SQLite left beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, each private: mkdir would give parents the usual mode."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
