"""Reads defaults from `reconciler.toml`, here or in a parent folder; the environment and options override them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reconciler.errors import Code, UsageError

FILE = "reconciler.toml"


def read_settings(start: Path | None = None) -> dict[str, Any]:
    """Return the settings as Typer's default map: top-level keys for every verb, `[apply]` for one verb.

    Raises UsageError if the file is not valid TOML.
    """
    folder = (start or Path.cwd()).resolve()
    found = next((place / FILE for place in (folder, *folder.parents) if (place / FILE).is_file()), None)
    if found is None:
        return {}
    import tomllib  # noqa: PLC0415 - most runs have no such file

    try:
        settings = tomllib.loads(found.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{found}: {error}", hint="the file must be valid TOML", code=Code.FILE_UNREADABLE) from error
    return _keyed(settings, found.parent)


_PATHS = ("cluster", "state")
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
