"""Maps what a database reports to the error tree; a message never contains a password."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.errors import StateError, StateUnreadable

_DAMAGED = re.compile(
    "malformed|not a database|file is encrypted|unsupported file format|no such (table|column)"
    "|(relation|column) .* does not exist"
)
"""What SQLite and PostgreSQL report of a database that is damaged or not a state."""

RESTORE = "restore it from a copy: `reconciler state restore` lists them; the hosts were not changed"
"""What to do about a damaged state."""


def unusable(place: str, reported: str, *, of_database: bool = True) -> StateError:
    """Return the error for what a database reported; `of_database` is False where the driver itself failed."""
    line = reported.strip().split("\n", 1)[0]
    if of_database and _DAMAGED.search(line):
        return StateUnreadable(f"the state {place} is damaged: {line}", hint=RESTORE)
    return StateError(f"the state {place} cannot be used: {line}", hint=_hint(line))


@contextmanager
def mapped_sqlite(place: str) -> Iterator[None]:
    """Raise StateUnreadable for a damaged file, StateError for one that cannot be read."""
    try:
        yield
    except sqlite3.Error as error:
        raise unusable(place, str(error), of_database=isinstance(error, sqlite3.DatabaseError)) from error


@contextmanager
def decoding(place: str, what: str) -> Iterator[None]:
    """Raise StateUnreadable where a document of the state cannot be read."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateUnreadable(f"the state {place} is damaged: {what} cannot be read", hint=RESTORE) from error


def _hint(line: str) -> str | None:
    if "connection" in line or "terminating" in line:
        return "check that the database answers, then run the command again: it finds what is on the hosts"
    if "locked" in line:
        return "another process is writing; try again in a few seconds"
    if "full" in line:
        return "make room on the disk; nothing was partly written"
    if "I/O error" in line:
        return "check the disk and the system's log; what was saved before is still there"
    if "readonly" in line or "unable to open" in line:
        return "check who may write the file and its folder, or name another place with --state"
    return None
