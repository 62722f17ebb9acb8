"""Files that keep a record safe: whole or not there, for their owner alone; what is written in them is others' part."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from reconciler.errors import StateError


def write_private(file: Path, text: str) -> None:
    """Write a text with mode 0600, in the place of any file of that name; raises StateError where it cannot be."""
    with _taking_place_of(file) as fresh:
        fresh.write_text(text, encoding="utf-8")


def keep(file: Path, text: str) -> Path:
    """Write a text beside what is already there, never over it: a number is added to the name where it is taken.

    Returns the file that was written.
    """
    free = next(path for path in _numbered(file) if not path.exists())
    write_private(free, text)
    return free


def copy_database(file: Path, copy: Path) -> None:
    """Copy a SQLite database as it was last committed, with its log of writes; other processes may go on using it."""
    with _taking_place_of(copy) as fresh:
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
def _taking_place_of(file: Path) -> Iterator[Path]:
    """Yield an empty private file, which takes the place of `file` once it is on the disk."""
    if not file.name or "\0" in str(file):
        raise StateError(f"{str(file)!r} is not the name of a file", hint="name a file to write")
    fresh = file.with_name(f".{file.name}.{os.getpid()}-{os.urandom(4).hex()}.new")
    try:
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield fresh
        _sync(fresh)
        fresh.replace(file)
        _sync(file.parent)
    except OSError as error:
        raise StateError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
