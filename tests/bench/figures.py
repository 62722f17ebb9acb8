"""Formats measured figures beside their targets, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_HEADINGS = ("what", "measured", "target", "", "note")


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, in which unit (empty for a ratio or a count), and what it should be at most.

    With `at_least` the target is a lower bound. Without a target the figure is for comparison only.
    """

    what: str
    measured: float
    unit: str = ""
    target: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def ok(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        return self.measured >= self.target if self.at_least else self.measured <= self.target

    @property
    def verdict(self) -> str:
        """Whether the target is met, in one word."""
        return {True: "ok", False: "missed", None: ""}[self.ok]

    def row(self) -> tuple[str, ...]:
        """Return the cells of the figure's row."""
        target = "" if self.target is None else f"{'>=' if self.at_least else '<='} {_number(self.target)} {self.unit}"
        return self.what, f"{_number(self.measured)} {self.unit}".rstrip(), target.rstrip(), self.verdict, self.note


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table in plain text, with a newline at the end."""
    rows = [_HEADINGS, *(figure.row() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]]) + "\n"


def to_json(figures: Sequence[Figure]) -> str:
    """Return the figures as a JSON list, with a newline at the end."""
    return json.dumps([asdict(figure) | {"ok": figure.ok} for figure in figures], indent=2) + "\n"


def timed(work: Callable[[], object], times: int) -> float:
    """Return the median of the seconds that some work takes, over a few times."""
    return median(_once(work) for _ in range(times))


def _once(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or value >= 100 else f"{value:.2f}"
