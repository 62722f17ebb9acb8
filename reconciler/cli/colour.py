"""Writes plans and tables in colour on a terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from functools import lru_cache

from rich.box import SIMPLE_HEAD
from rich.color import ColorSystem
from rich.console import COLOR_SYSTEMS, Console
from rich.style import Style
from rich.table import Table as RichTable
from rich.text import Text

from reconciler.cli.global_options import GlobalOptions
from reconciler.views.tables import Table, cell
from reconciler.views.view import PlanText

_STYLES = {"+": "green", "~": "yellow", "-": "red", "-/+": "magenta", "!": "bright_yellow"}
_SYMBOL = re.compile(r" {2,5}(-/\+|[+~!-]) (?=\S)")


_CELLS = {
    "Synced": "green",
    "present": "green",
    "OutOfSync": "yellow",
    "creating": "yellow",
    "deleting": "yellow",
    "unknown": "yellow",
    "missing": "red",
    "failed": "red",
    "ok": "green",
    "info": "dim",
    "warn": "yellow",
    "fail": "red",
    "yes": "green",
    "no": "red",
    "-": "dim",
}


_UNBOUNDED = 10_000
"""The width of text in a file or a pipe, in columns: it is never folded."""


def console_of(options: GlobalOptions, *, stderr: bool = False) -> Console:
    """Return a console that respects --no-color, NO_COLOR and TERM=dumb; only a terminal limits its width."""
    plain = options.no_color or os.environ.get("TERM") == "dumb"
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else _UNBOUNDED
    return Console(stderr=stderr, no_color=True if plain else None, highlight=False, soft_wrap=True, width=width)


def write_coloured(console: Console, block: Table | PlanText) -> None:
    """Write a table or the text of a plan."""
    if isinstance(block, PlanText):
        _write_plan(console, block.text)
    else:
        console.print(_table(block))


def _table(table: Table) -> RichTable:
    built = RichTable(box=SIMPLE_HEAD, title=table.title, title_justify="left", title_style="bold", pad_edge=False)
    for name in table.headings:
        built.add_column(name, overflow="fold")
    for row in table.rows:
        built.add_row(*(Text(text, style=_CELLS.get(text, "")) for text in map(cell, row.values())))
    return built


def _write_plan(console: Console, text: str) -> None:
    """Write the text of a plan; line by line through the console would take several times as long as planning."""
    name = console.color_system
    console.file.write(text if name is None else "".join(_painted(text, COLOR_SYSTEMS[name], plain=console.no_color)))


def _painted(text: str, colors: ColorSystem, *, plain: bool) -> Iterator[str]:
    """Yield the pieces of a text with the codes of a terminal; `plain` allows bold and dim, but no colour."""
    for line in text.splitlines():
        body, mark, note = line.partition("  # ")
        for style, piece in ((_style(line), body), ("dim", mark + note)):
            found = _parse(style)
            yield (found.without_color if plain else found).render(piece, color_system=colors)
        yield "\n"


@lru_cache
def _parse(style: str) -> Style:
    return Style.parse(style)


def _style(line: str) -> str:
    if match := _SYMBOL.match(line):
        return _STYLES[match[1]]
    return "" if line.startswith(" ") else "bold"
