"""Turns what a database says went wrong into the error tree, in a user's words; it never repeats a password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DatabaseError, DBAPIError, SQLAlchemyError

from reconciler.errors import StateError, StateUnreadable

_DAMAGED = re.compile(
    "malformed|not a database|file is encrypted|unsupported file format|no such (table|column)"
    "|(relation|column) .* does not exist"
)
"""What SQLite and PostgreSQL say of what is not, or no longer, a whole record."""

RESTORE = "restore it from a copy; the hosts were left as they are"
"""What to do about a damaged record."""


@contextmanager
def mapped(place: str) -> Iterator[None]:
    """Raise StateUnreadable for a damaged database, StateError for one that does not answer or cannot write."""
    try:
        yield
    except DBAPIError as error:
        said = _first_line(str(error.orig))
        if isinstance(error, DatabaseError) and _DAMAGED.search(said):
            raise StateUnreadable(f"the record {place} is damaged: {said}", hint=RESTORE) from error
        raise StateError(f"the record {place} cannot be used: {said}", hint=_hint(said)) from error
    except SQLAlchemyError as error:
        raise StateError(f"the record {place} cannot be used: {_first_line(str(error))}") from error


@contextmanager
def decoding(place: str, what: str) -> Iterator[None]:
    """Raise StateUnreadable where a document of the record cannot be read."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateUnreadable(f"the record {place} is damaged: {what} cannot be read", hint=RESTORE) from error


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def _hint(said: str) -> str | None:
    if "connection" in said or "terminating" in said:
        return "see that the database answers, then do the same again: what stands on the hosts is found there"
    if "locked" in said:
        return "another process is writing; try again in a moment"
    if "full" in said:
        return "make room on the disk; nothing was half-written"
    if "I/O error" in said:
        return "look at the disk and the system's log; what was recorded before still stands"
    if "readonly" in said or "unable to open" in said:
        return "check who may write the file and its folder, or name another place with --state"
    return None
