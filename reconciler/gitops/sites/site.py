"""Defines what a Git hosting site does for a review, whichever site it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from reconciler.errors import SiteError

CONTEXT: Final = "reconciler/plan"
"""The name of our commit status."""
LONGEST_DESCRIPTION: Final = 140
"""Characters of the description of a commit status: GitHub's limit."""

T = TypeVar("T")


class State(StrEnum):
    """The states of a commit status, by GitHub's names."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Status:
    """A commit status."""

    commit: str
    state: State
    description: str = ""
    url: str | None = None

    def short_description(self) -> str:
        """Return the description, at most LONGEST_DESCRIPTION characters, on one line."""
        text = " ".join(self.description.split())
        return text if len(text) <= LONGEST_DESCRIPTION else text[: LONGEST_DESCRIPTION - 1] + "…"


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment of a pull request or merge request."""

    number: int
    author: str
    body: str
    url: str | None = None


class Site(Protocol):
    """One pull request or merge request of a site, as its API shows it; every method may raise SiteError."""

    @property
    def name(self) -> str:
        """The site's name, for messages."""
        ...

    @property
    def longest(self) -> int:
        """How many characters a comment can have."""
        ...

    def author(self) -> str:
        """Return who we are, as in `Comment.author`."""
        ...

    def head(self) -> str:
        """Return the commit that would be merged."""
        ...

    def comments(self) -> Iterator[Comment]:
        """Yield every comment, of all pages."""
        ...

    def create(self, body: str) -> Comment:
        """Add a comment; raises SiteUnanswered if it is unknown whether it was added."""
        ...

    def edit(self, number: int, body: str) -> Comment:
        """Replace the text of a comment."""
        ...

    def set_status(self, status: Status) -> None:
        """Set the status of a commit."""
        ...

    def harmless(self, body: str) -> str:
        """Return a text without what this site would take as a command."""
        ...


class Shape(BaseModel):
    """What we read of an object of an API; the rest is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def parsed(adapter: TypeAdapter[T], body: bytes, site: str, what: str) -> T:
    """Return a body as what it must be; raises SiteError."""
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        first: Any = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole answer"
        raise SiteError(
            f"{site} answered with something else than {what}: {place}: {first['msg']}",
            hint="check that --api-url is the URL of the API and not of the pages",
        ) from None
