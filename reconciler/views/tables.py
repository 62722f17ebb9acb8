"""Lays rows out as plain text tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_GAP = "   "


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that have the same keys, which are the headings, and a title."""

    rows: Sequence[Mapping[str, Any]]
    title: str | None = None

    @property
    def headings(self) -> list[str]:
        """The headings of the columns."""
        return [heading(name) for name in (self.rows[0] if self.rows else ())]


def heading(name: str) -> str:
    """Return a key as a heading."""
    return name.upper().replace("_", " ")


def cell(value: Any) -> str:
    """Return a value as the text of a cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def plain(table: Table) -> str:
    """Return a table as text without colour, as wide as its content."""
    if not table.rows:
        return "\n"
    rows = [[cell(value).split("\n") for value in row.values()] for row in table.rows]
    widths = [
        max(len(title), *(len(line) for row in rows for line in row[column]))
        for column, title in enumerate(table.headings)
    ]
    total = sum(widths) + len(_GAP) * (len(widths) - 1) + 2
    lines = [table.title] if table.title else []
    lines += [" " * total, _line(table.headings, widths), f" {'─' * (total - 2)} "]
    for row in rows:
        for number in range(max(map(len, row))):
            lines.append(_line([part[number] if number < len(part) else "" for part in row], widths))
    lines.append(" " * total)
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return f" {_GAP.join(f'{text:<{width}}' for text, width in zip(cells, widths, strict=True))} "
