"""Colours a plan's text by the symbol at the start of each line; the text itself is render's and stays as it is."""

from __future__ import annotations

import re

from rich.console import Console
from rich.text import Text

_STYLES = {"+": "green", "~": "yellow", "-": "red", "-/+": "magenta", "!": "bright_yellow"}
_SYMBOL = re.compile(r" {2,5}(-/\+|[+~!-]) (?=\S)")


def paint(console: Console, text: str) -> None:
    """Print a plan's text, in colour where the console has any."""
    for line in text.splitlines():
        console.print(_line(line), soft_wrap=True)


def _line(line: str) -> Text:
    body, mark, note = line.partition("  # ")
    return Text.assemble((body, _style(line)), (mark + note, "dim"))


def _style(line: str) -> str:
    if match := _SYMBOL.match(line):
        return _STYLES[match[1]]
    return "" if line.startswith(" ") else "bold"
