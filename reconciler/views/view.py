"""Defines what a verb shows: text for people and a versioned model for programs, each made only if printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from reconciler.views.tables import Table

FORMAT_VERSION = 1
"""The version of the JSON that verbs print. It grows when a key is removed or changes its meaning."""


class Model(BaseModel):
    """A part of a document that is printed with --json."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)


class Document(Model):
    """A whole document, or an entry of a document that is a list."""

    format_version: int = FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class PlanText:
    """The text of a plan, whose lines are coloured by their symbols on a terminal."""

    text: str


Block = str | Table | PlanText


def no_notes() -> str:
    """Return nothing to add to a result."""
    return ""


@dataclass(frozen=True, slots=True)
class View:
    """What a verb shows: blocks of text for people, each printed once it is made, and a document for programs.

    The document is a model, a list of models, or the plain data of a model that would be slow to validate. `notes` are
    for people too, after the text and on standard error: what is no result, such as that nothing was changed.
    """

    text: Callable[[], Iterable[Block]]
    document: Callable[[], Document | Sequence[Document] | Mapping[str, Any]]
    notes: Callable[[], str] = no_notes
