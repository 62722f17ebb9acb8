"""A file's text, and where each of its values stands; found only when asked for, by reading the text once more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from reconciler.errors import Code, Location, Problem
from reconciler.spec.yaml.document import Path, ValuePosition, positions
from reconciler.spec.yaml.redaction import Redaction, after_key, redaction_of


@dataclass(frozen=True)
class Source:
    """A file as written: its name as the user gave it, and its text, which read_document has taken."""

    file: str
    text: str = field(repr=False)

    def locate(self, path: Path) -> Location:
        """Return where a value stands, or the nearest thing around it that is there."""
        mark = self._place(path).value
        return Location(self.file, mark.line, mark.column)

    def locate_key(self, path: Path) -> Location:
        """Return where a value's key stands; a list entry stands for itself."""
        mark = self._place(path).key
        return Location(self.file, mark.line, mark.column)

    def excerpt(self, line: int) -> str:
        """Return one line, counted from 1, without its end, as it may be shown; empty past the last."""
        lines = self._lines
        return self._veil.over(line, lines[line - 1].rstrip("\r")) if 0 < line <= len(lines) else ""

    def follows_secret(self, path: Path) -> bool:
        """Whether user-data begins before a key: what is amiss there may be a part of it that slipped out of place."""
        return self._veil.follows(self.locate_key(path).line)

    def problem_at_key(self, code: Code, summary: str, path: Path, hint: str | None = None) -> Problem:
        """Return a problem with a key, whose value is not shown."""
        location = self.locate_key(path)
        return Problem(code, summary, location, hint, after_key(self.excerpt(location.line), location.column))

    def problem(self, code: Code, summary: str, path: Path, hint: str | None = None, *, key: bool = False) -> Problem:
        """Return a problem with the value at a path, or with its key."""
        return self.problem_at(code, summary, self.locate_key(path) if key else self.locate(path), hint)

    def problem_at(self, code: Code, summary: str, location: Location, hint: str | None = None) -> Problem:
        """Return a problem at a place of this file, with the line as written."""
        return Problem(code, summary, location, hint, self.excerpt(location.line))

    @cached_property
    def _lines(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def _veil(self) -> Redaction:
        return redaction_of(self.text)

    @cached_property
    def _places(self) -> Mapping[Path, ValuePosition]:
        return positions(self.text)

    def _place(self, path: Path) -> ValuePosition:
        """Find a place; the short form of a link has no `endpoints` of its own, so that step may be left out."""
        places = self._places
        known: Path = ()
        for step in path:
            if (*known, step) in places:
                known = (*known, step)
            elif step != "endpoints":
                break
        return places[known]
