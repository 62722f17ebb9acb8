"""Where a record is kept: its default place, paths and URLs, and files that only their owner reads; no SQL."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISREG
from urllib.parse import quote

from platformdirs import user_state_dir
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from reconciler.errors import StateError, StateUnreadable
from reconciler.files import create_beside, sync
from reconciler.state.sql.faults import RESTORE

_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


_LONGEST = 255 - 33
"""The longest name of a file, in bytes, less what is added to it while a record is made."""


def default_place(cluster: str) -> Path:
    """Return the file that keeps a cluster's record where none is named: one for each cluster's name."""
    return Path(user_state_dir("reconciler")) / f"{quote(cluster, safe='')}.db"


def to_url(where: str | Path) -> URL:
    """Read a path, `sqlite:///PATH` or `postgresql://...`; raises StateError for a URL of any other sort."""
    if isinstance(where, Path) or "://" not in where:
        if "\0" in str(where) or any(len(os.fsencode(part)) > _LONGEST for part in Path(where).parts):
            raise StateError("no file can have the name that is given for the record", hint=_FORMS)
        return URL.create("sqlite", database=str(Path(where).expanduser().absolute()))
    try:
        url = make_url(where)
    except (ArgumentError, ValueError):  # what they say may quote the password
        raise StateError("the state's URL cannot be read", hint=_FORMS) from None
    driver = _DRIVERS.get(url.drivername.removesuffix("+psycopg"))
    if driver is None or (driver == "sqlite" and (url.query or url.database in (None, "", ":memory:"))):
        raise StateError(f"no record can be kept in {masked(url)}", hint=_FORMS)
    if driver == "sqlite":
        return to_url(Path(url.database or ""))
    return url.set(drivername=driver)


_FORMS = "write a path, sqlite:///PATH, or postgresql://USER@HOST/DATABASE"


def masked(url: URL) -> str:
    """Write a URL for people, without the passwords that it holds before its host or among its parameters."""
    secret = [key for key in url.query if "password" in key.casefold()]
    return url.update_query_dict(dict.fromkeys(secret, "***")).render_as_string(hide_password=True)


def file_of(url: URL) -> Path | None:
    """Return the file behind a SQLite URL; None for a server's."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def inspect(file: Path) -> None:
    """Check that a file may be a record, without opening it; whether it is a database, SQLite itself says.

    Closing a file that SQLite has open elsewhere in this process would release the locks of all its connections there
    (https://www.sqlite.org/howtocorrupt.html, 2.2), and another process would clear their log of writes away. Raises
    StateUnreadable where it is empty (that is a truncated record, not a new one), StateError where it is no file.
    """
    try:
        found = file.stat()
    except OSError as error:
        raise StateError(f"the record {file} cannot be opened: {error.strerror}") from error
    if not S_ISREG(found.st_mode):
        raise StateError(f"the record {file} cannot be opened: it is no file", hint=_ELSEWHERE)
    if found.st_size == 0:
        raise StateUnreadable(f"the record {file} is damaged: it is empty", hint=RESTORE)


def is_missing(file: Path) -> bool:
    """Whether there is no record; raises StateUnreadable where there was one, and its log of writes is still there.

    SQLite would play such a log into whatever database takes the place of the one it belongs to.
    """
    log = file.with_name(f"{file.name}-wal")
    if file.exists():
        return False
    if log.exists() and not file.exists():  # asked again: another process may have made both meanwhile
        raise StateUnreadable(f"the record {file} is missing, but {log.name} is still beside it", hint=RESTORE)
    return True


def reserve(file: Path) -> Path:
    """Make an empty file beside `file`, for its owner alone, in which the record is made before it takes its place.

    The folder is made where it is missing. Raises StateError where that is not allowed.
    """
    try:
        _make_folder(file.parent)
        return create_beside(file)
    except OSError as error:
        raise StateError(f"the record {file} cannot be made: {error.strerror}", hint=_ELSEWHERE) from error


_ELSEWHERE = "name another place with --state"


def publish(fresh: Path, file: Path) -> None:
    """Give a finished file its name, unless another process was first: then that one's stands. Survives a crash."""
    try:
        sync(fresh)
        os.link(fresh, file)
        sync(file.parent)
    except FileExistsError:
        pass
    except OSError as error:
        raise StateError(f"the record {file} cannot be made: {error.strerror}", hint=_ELSEWHERE) from error


def discard(fresh: Path) -> None:
    """Remove what `reserve` made, and what SQLite left beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, each for its owner alone: mkdir would give parents the usual mode."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
