"""Reads and formats the URL of a state's database."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from reconciler.errors import StateError
from reconciler.state.location import FORMS, sqlite_file

_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


def to_url(where: str | Path) -> URL:
    """Read a path, `sqlite:///PATH` or `postgresql://...`; raises StateError for any other URL."""
    file = sqlite_file(where)
    if file is not None:
        return URL.create("sqlite", database=str(file))
    try:
        url = make_url(str(where))
    except (ArgumentError, ValueError):  # their messages may quote the password
        raise StateError("the state's URL cannot be read", hint=FORMS) from None
    driver = _DRIVERS.get(url.drivername.removesuffix("+psycopg"))
    if driver is None or (driver == "sqlite" and (url.query or url.database in (None, "", ":memory:"))):
        raise StateError(f"{masked(url)} cannot hold a state", hint=FORMS)
    if driver == "sqlite":
        return to_url(Path(url.database or ""))
    return url.set(drivername=driver)


def masked(url: URL) -> str:
    """Format a URL for people, without the passwords that it holds before its host or among its parameters."""
    secret = [key for key in url.query if "password" in key.casefold()]
    return url.update_query_dict(dict.fromkeys(secret, "***")).render_as_string(hide_password=True)


def file_of(url: URL) -> Path | None:
    """Return the file behind a SQLite URL; None for a server's."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def place_name(url: URL) -> str:
    """Return where a state is as a user writes it, without a password."""
    return name_of(url.set(drivername=url.get_backend_name()))


def name_of(url: URL) -> str:
    """Name a state for people: its file, or its URL without the password."""
    return str(file_of(url) or masked(url))
