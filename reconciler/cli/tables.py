"""Tables for people: a row per thing, a column per question; programs get the same rows as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

_STYLES = {
    "Healthy": "green",
    "Synced": "green",
    "present": "green",
    "OutOfSync": "yellow",
    "Progressing": "yellow",
    "creating": "yellow",
    "deleting": "yellow",
    "unknown": "yellow",
    "Unknown": "dim",
    "Degraded": "red",
    "Missing": "red",
    "missing": "red",
    "failed": "red",
    "ok": "green",
    "info": "dim",
    "warn": "yellow",
    "fail": "red",
}


def table(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> Table:
    """Lay rows of the same keys out as a table; the keys are the headings."""
    built = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for name in rows[0] if rows else ():
        built.add_column(name.upper().replace("_", " "), overflow="fold")
    for row in rows:
        built.add_row(*(_cell(value) for value in row.values()))
    return built


def _cell(value: Any) -> Text:
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no", style="green" if value else "red")
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return Text(text, style=_STYLES.get(text, ""))
