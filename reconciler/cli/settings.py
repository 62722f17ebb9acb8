"""Reads defaults from `reconciler.toml`, here or in a parent folder; the environment and options override them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reconciler.errors import Code, Location, Problem, SpecError, UsageError
from reconciler.spec.quoting import did_you_mean, shown

FILE = "reconciler.toml"

_HEADER = re.compile(r"\s*\[\s*([^\]]+?)\s*\]")


def read_settings(verbs: Any, start: Path | None = None) -> dict[str, Any]:
    """Return the settings as Typer's default map: top-level keys for every verb, `[apply]` for one verb.

    `verbs` is the command line that they are for. Raises UsageError if the file is not valid TOML, and SpecError if it
    has a key or a table that `verbs` does not know.
    """
    found = _find(start or Path.cwd())
    if found is None:
        return {}
    try:
        text, settings = _parse(found)
    except (OSError, ValueError) as error:
        raise UsageError(f"{found}: {error}", hint="the file must be valid TOML", code=Code.FILE_UNREADABLE) from error
    if unknown := [_problem(found, text, table, name, known) for table, name, known in _unknown(settings, verbs)]:
        raise SpecError(unknown)
    return _keyed(settings, found.parent)


def read_settings_unchecked(start: Path) -> dict[str, Any]:
    """Return the settings without knowing the verbs; no settings where the file cannot be read."""
    try:
        found = _find(start)
        return {} if found is None else _keyed(_parse(found)[1], found.parent)
    except (OSError, ValueError):
        return {}


def _find(start: Path) -> Path | None:
    folder = start.resolve()
    return next((place / FILE for place in (folder, *folder.parents) if (place / FILE).is_file()), None)


def _parse(file: Path) -> tuple[str, dict[str, Any]]:
    import tomllib  # noqa: PLC0415 - most runs have no such file

    text = file.read_text(encoding="utf-8")
    return text, tomllib.loads(text)


_PATHS = ("cluster", "state", "slice_folder", "slice-folder")
"""Settings that may be paths, relative to the folder of the settings file."""


def _keyed(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Rename settings as parameters are named, in every table."""
    return {name.replace("-", "_"): _setting(name, value, folder) for name, value in settings.items()}


def _setting(name: str, value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return _keyed(value, folder)
    if name in _PATHS and isinstance(value, str) and "://" not in value:
        return str(folder / Path(value).expanduser())
    return value


def _unknown(
    settings: Mapping[str, Any], command: Any, table: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str, list[str]]]:
    """Yield each key and table that a command does not know: the table it is in, its name, and what is known there."""
    verbs = getattr(command, "commands", {})
    options = [param.name for param in command.params if param.param_type_name == "option"]
    for name, value in settings.items():
        verb = verbs.get(name) if isinstance(value, dict) else None
        if verb is not None:
            yield from _unknown(value, verb, (*table, name))
        elif isinstance(value, dict) or name.replace("-", "_") not in options:
            yield table, name, list(verbs) if isinstance(value, dict) else options


def _problem(file: Path, text: str, table: tuple[str, ...], name: str, known: list[str]) -> Problem:
    place = f" in [{'.'.join(table)}]" if table else ""
    line = _line(text, table, name)
    summary = f"unknown setting {shown(name)}{place}"
    return Problem(
        Code.UNKNOWN_KEY, summary, Location(str(file), line), did_you_mean(name, known), text.split("\n")[line - 1]
    )


def _line(text: str, table: tuple[str, ...], name: str) -> int:
    """Return the line of a key or of a table's header, counted from 1; the first line if it is written unusually."""
    current, key = "", re.compile(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=")
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            current = header[1]
            if current == ".".join((*table, name)):
                return number
        elif current == ".".join(table) and key.match(line):
            return number
    return 1
