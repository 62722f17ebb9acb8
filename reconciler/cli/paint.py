"""Colours a plan's text by the symbol at the start of each line; the text itself is render's and stays as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from rich.color import ColorSystem
from rich.console import COLOR_SYSTEMS, Console
from rich.style import Style

_STYLES = {"+": "green", "~": "yellow", "-": "red", "-/+": "magenta", "!": "bright_yellow"}
_SYMBOL = re.compile(r" {2,5}(-/\+|[+~!-]) (?=\S)")


def paint(console: Console, text: str) -> None:
    """Print a plan's text, in colour where the console has any.

    Lines are written as they are: printing each through the console would take several times what planning does.
    """
    name = console.color_system
    console.file.write(text if name is None else "".join(_painted(text, COLOR_SYSTEMS[name], plain=console.no_color)))


def _painted(text: str, colors: ColorSystem, *, plain: bool) -> Iterator[str]:
    """Yield a text's pieces with a terminal's codes; `plain` leaves bold and dim, and no colour."""
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
