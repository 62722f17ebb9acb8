"""Formats a problem as text: its position, a message, the line with a caret below it, and a hint.

slices/web.yaml:6:9: error[unknown-key]: unknown key 'vcpu' in vms.web
  6 |   web: {vcpu: 1}
    |         ^
hint: did you mean `vcpus`?
"""

from __future__ import annotations

import unicodedata

from reconciler.errors import Problem
from reconciler.spec.quoting import escape

MAX_WIDTH = 100
"""Characters shown of a line at most; a longer line is cut around the caret."""

_TAB = " " * 4
_CUT = "..."


def format_problem(problem: Problem) -> str:
    """Return a problem as lines, without a newline at the end and without control characters."""
    location = problem.location
    where = "" if location is None else f"{escape(str(location))}: "
    lines = [f"{where}error[{problem.code}]: {escape(problem.summary)}"]
    if location is not None and problem.excerpt is not None:
        lines += _quoted_line(problem.excerpt, location.line, location.column)
    if problem.hint is not None:
        lines.append(f"hint: {escape(problem.hint)}")
    return "\n".join(lines)


def _quoted_line(text: str, line: int, column: int) -> list[str]:
    before, rest = _around(text, column - 1)
    gutter = f"{line:>3} | "
    bar = " " * (len(gutter) - 2) + "| "
    return [(gutter + before + rest).rstrip(), bar + " " * _width(before) + "^"]


def _around(text: str, offset: int) -> tuple[str, str]:
    """Return the text to show before and after an offset of a line, cut to MAX_WIDTH characters together."""
    before = _visible(text[max(0, offset - MAX_WIDTH) : offset])
    rest = _visible(text[offset : offset + MAX_WIDTH])
    if len(text) <= MAX_WIDTH and len(before) + len(rest) <= MAX_WIDTH:
        return before, rest
    room = MAX_WIDTH // 2
    if len(before) > room:
        before = _CUT + before[-(room - len(_CUT)) :]
    if len(before) + len(rest) > MAX_WIDTH:
        rest = rest[: MAX_WIDTH - len(before) - len(_CUT)] + _CUT
    return before, rest


def _visible(text: str) -> str:
    return escape(text.replace("\t", _TAB))


def _width(text: str) -> int:
    """Return the number of terminal columns of a text: two for wide characters, none for combining characters."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1
        for char in text
    )
