"""Writes copies of a state: exports as text, and whole SQLite databases, each private and complete or absent."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from reconciler.errors import FileWriteError, StateError
from reconciler.files import replacing, write_file
from reconciler.state.location import sqlite_file

KEPT: Final = 10
"""How many copies of a database are kept."""


def write_private(file: Path, text: str) -> None:
    """Write a text that only the owner may read, replacing any file of that name; raises StateError on failure."""
    with _mapped():
        write_file(file, text)


def keep(file: Path, text: str) -> Path:
    """Write a text to a name that is free, adding a number to it where it is taken, and return the path."""
    free = next(path for path in _numbered(file) if not path.exists())
    write_private(free, text)
    return free


def copy_database(file: Path, copy: Path) -> None:
    """Copy the last committed content of a SQLite database; other processes may go on using it."""
    with _mapped(), replacing(copy) as fresh:
        try:
            with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(fresh)) as target:
                source.backup(target)
        except sqlite3.Error as error:
            raise StateError(f"{copy} cannot be written: {error}") from error


def keep_database(file: Path, now: datetime) -> Path | None:
    """Copy a SQLite database into the folder of its copies, and delete the oldest copies there.

    Returns the copy, or None where there is no database yet.
    """
    if not file.exists():
        return None
    folder = copies_folder(file)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StateError(f"{folder} cannot be written: {error.strerror}", hint=_ROOM) from error
    copy = folder / f"{now.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}.db"
    copy_database(file, copy)
    for old in database_copies(file)[KEPT:]:
        old.unlink(missing_ok=True)
    return copy


def keep_before_applies(place: str) -> Callable[[], object]:
    """Return what keeps a copy of the state at a place; for a database server, which has backups, it does nothing."""
    file = sqlite_file(place)
    return lambda: None if file is None else keep_database(file, datetime.now(UTC))


_ROOM = "nothing was changed; a copy of the state is kept before each apply"


def copies_folder(file: Path) -> Path:
    """Return the folder of the copies of a SQLite database."""
    return file.with_name(f"{file.name}.copies")


def database_copies(file: Path) -> list[Path]:
    """Return the copies of a SQLite database, newest first."""
    return sorted(copies_folder(file).glob("*Z.db"), reverse=True)


def set_aside(file: Path) -> Path:
    """Rename a damaged database and its log, so that another one can take its place; returns the new path."""
    aside = next(path for path in _numbered(file.with_name(f"{file.name}.damaged")) if not path.exists())
    try:
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                file.with_name(file.name + suffix).rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise StateError(f"{file} cannot be renamed: {error.strerror}") from error
    return aside


def _numbered(file: Path) -> Iterator[Path]:
    yield file
    number = 2
    while True:
        yield file.with_name(f"{file.stem}-{number}{file.suffix}")
        number += 1


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except FileWriteError as error:
        raise StateError(error.summary, hint=error.hint) from error
