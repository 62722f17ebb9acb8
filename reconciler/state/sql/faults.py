"""Maps SQLAlchemy's exceptions to the error tree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DatabaseError, DBAPIError, SQLAlchemyError

from reconciler.state.faults import unusable


@contextmanager
def mapped(place: str) -> Iterator[None]:
    """Raise StateUnreadable for a damaged database, StateError for one that does not answer or cannot write."""
    try:
        yield
    except DBAPIError as error:
        raise unusable(place, str(error.orig), of_database=isinstance(error, DatabaseError)) from error
    except SQLAlchemyError as error:
        raise unusable(place, str(error), of_database=False) from error
