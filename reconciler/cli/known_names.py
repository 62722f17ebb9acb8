"""Reads names for completion from the cluster file and a SQLite state on this machine; never connects anywhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from reconciler.cli.settings import read_settings_unchecked
from reconciler.state.location import default_place, sqlite_file
from reconciler.trees import find_cluster

_MOST: Final = 1000
"""Names that are offered at most; nobody reads more."""

_LARGEST: Final = 1 << 20
"""The largest cluster file, in bytes, that is read while somebody waits."""

_BUSY: Final = 0.1
"""Seconds to wait for a process that writes the state."""


class KnownNames:
    """The names that a command line could mean, by its global options and the environment.

    What cannot be read has no names, and no error.
    """

    def __init__(self, environment: Mapping[str, str], options: Mapping[str, str]) -> None:
        self._environment = environment
        self._options = options

    def slices(self, begun: str) -> Iterator[str]:
        """Yield the slices of the state as owner/name; also by the name alone once it is begun."""
        for (key,) in self._rows("SELECT key FROM slices ORDER BY key LIMIT ?", _MOST):
            yield key
            if begun:
                yield key.rpartition("/")[2]

    def addresses(self, begun: str) -> Iterator[str]:
        """Yield the addresses of resources of the state that begin so."""
        query = "SELECT address FROM resources WHERE address >= ? AND address < ? ORDER BY address LIMIT ?"
        for (address,) in self._rows(query, begun, f"{begun}\U0010ffff", _MOST):
            yield address

    def hosts(self) -> Iterator[str]:
        """Yield the hosts of the cluster file, and those that only the state still has."""
        with suppress(KeyError, TypeError):
            yield from (worker["name"] for worker in self._cluster["workers"])
            yield self._cluster["network_node"]["name"]
        for (host,) in self._rows("SELECT DISTINCT host FROM resources LIMIT ?", _MOST):
            yield host

    def _setting(self, name: str) -> str | None:
        """Return a global option: of the command line, the environment, or reconciler.toml."""
        environment = f"RECONCILER_{name.upper()}"
        given = self._options.get(f"--{name}") or self._environment.get(environment) or self._settings.get(name)
        return given if isinstance(given, str) else None

    @cached_property
    def _settings(self) -> Mapping[str, Any]:
        return read_settings_unchecked(Path.cwd())

    @cached_property
    def _cluster(self) -> Mapping[str, Any]:
        from reconciler.spec.yaml.document import read_document  # noqa: PLC0415 - not for names of the state

        given = self._setting("cluster")
        file = Path(given).expanduser() if given else find_cluster(Path.cwd())
        if file is None or file.stat().st_size > _LARGEST or not file.is_file():
            return {}
        document = read_document(file.read_text(encoding="utf-8"))
        return document if isinstance(document, dict) else {}

    def _rows(self, query: str, *values: object) -> list[Any]:
        with suppress(Exception):  # no state yet, a damaged one, another program's: there is nothing to offer
            place = self._setting("state") or str(default_place(str(self._cluster["name"]), self._cluster.get("id")))
            file = sqlite_file(place)
            if file is not None and file.is_file():
                uri = f"file:{quote(str(file))}?mode=ro"
                with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY)) as connection:
                    return connection.execute(query, values).fetchall()
        return []
