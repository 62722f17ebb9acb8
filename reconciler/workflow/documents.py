"""Caches the parsed documents of slice files by content digest, so that large folders are not parsed again each time.

A document with user-data is never cached. A cache that is missing, damaged, or written by another parser is ignored. It
changes only the time that loading takes.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.errors import FileWriteError
from reconciler.files import write_file
from reconciler.spec.yaml import document, events, fast
from reconciler.workflow.caches import FEW, MAX_BYTES, cache_place


class DocumentCache:
    """Documents by the SHA-256 of their file, read from `path` when more than FEW files are looked up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lookups = 0
        self._stored: dict[str, Any] | None = None
        self._used: dict[str, Any] = {}

    def get(self, digest: str) -> Any | None:
        """Return the document of a file, or None if it is not cached."""
        self._lookups += 1
        if self._lookups <= FEW:
            return None
        if self._stored is None:
            self._stored = _read(self._path)
        return self._stored.get(digest)

    def put(self, digest: str, data: Any) -> None:
        """Keep the document of a file for the next time."""
        self._used[digest] = data

    def save(self) -> None:
        """Write the documents of this run, if they are many and differ from the stored ones; failures are ignored."""
        if self._stored is None or self._stored.keys() == self._used.keys():
            return
        body = json.dumps(self._used, ensure_ascii=False, separators=(",", ":"))
        with suppress(OSError, FileWriteError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_file(self._path, f"{_seal(body)}\n{body}")


def document_cache(cluster: Path) -> DocumentCache:
    """Return the cache for the slice files of one cluster file."""
    return DocumentCache(cache_place("documents", cluster))


def _read(path: Path) -> dict[str, Any]:
    """Return the stored documents; none if they are damaged or written by another parser."""
    try:
        with path.open("rb") as file:
            seal, _, body = file.read(MAX_BYTES).decode().partition("\n")
        found = json.loads(body) if seal == _seal(body) else None
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _seal(body: str) -> str:
    """Return the first line of a cache: a digest of the parser's source and of the documents."""
    parser = b"".join(Path(module.__file__ or "").read_bytes() for module in (document, events, fast))
    return hashlib.sha256(parser + body.encode()).hexdigest()
