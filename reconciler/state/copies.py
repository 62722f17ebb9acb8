"""Writes copies of a state: exports as text, and whole SQLite databases, each private and complete or absent."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from reconciler.errors import FileWriteError, StateError
from reconciler.files import replacing, write_file


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
