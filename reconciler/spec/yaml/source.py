"""Holds the text of a file and finds the positions of its values, by parsing the text again when first needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from reconciler.errors import Code, Location, Problem
from reconciler.spec.yaml.document import Path, ValuePosition, positions
from reconciler.spec.yaml.redaction import Redaction, after_key, redaction_of


@dataclass(frozen=True)
class Source:
    """A file: its name for messages, and its text, which read_document accepts."""

    file: str
    text: str = field(repr=False)

    def locate(self, path: Path) -> Location:
        """Return the position of a value, or of the nearest value around it that exists."""
        mark = self._position(path).value
        return Location(self.file, mark.line, mark.column)

    def locate_key(self, path: Path) -> Location:
        """Return the position of a value's key; of a list entry, that of the entry."""
        mark = self._position(path).key
        return Location(self.file, mark.line, mark.column)

    def excerpt(self, line: int) -> str:
        """Return one line, counted from 1, with user-data masked; empty after the last line."""
        lines = self._lines
        return self._redaction.mask(line, lines[line - 1].rstrip("\r")) if 0 < line <= len(lines) else ""

    def follows_secret(self, path: Path) -> bool:
        """Whether user-data starts before a key: then the key may be a part of it with wrong indentation."""
        return self._redaction.follows(self.locate_key(path).line)

    def problem_at_key(self, code: Code, summary: str, path: Path, hint: str | None = None) -> Problem:
        """Return a problem with a key, without showing its value."""
        location = self.locate_key(path)
        return Problem(code, summary, location, hint, after_key(self.excerpt(location.line), location.column))

    def problem(self, code: Code, summary: str, path: Path, hint: str | None = None, *, key: bool = False) -> Problem:
        """Return a problem with the value at a path, or with its key."""
        return self.problem_at(code, summary, self.locate_key(path) if key else self.locate(path), hint)

    def problem_at(self, code: Code, summary: str, location: Location, hint: str | None = None) -> Problem:
        """Return a problem at a position in this file, with the line."""
        return Problem(code, summary, location, hint, self.excerpt(location.line))

    @cached_property
    def _lines(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def _redaction(self) -> Redaction:
        return redaction_of(self.text)

    @cached_property
    def _positions(self) -> Mapping[Path, ValuePosition]:
        return positions(self.text)

    def _position(self, path: Path) -> ValuePosition:
        """Return a position; the short form of a link has no key `endpoints`, so that step is optional."""
        known_positions = self._positions
        known: Path = ()
        for step in path:
            if (*known, step) in known_positions:
                known = (*known, step)
            elif step != "endpoints":
                break
        return known_positions[known]
