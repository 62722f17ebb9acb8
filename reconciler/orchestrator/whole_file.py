"""Files that are never seen half-written: the new text is on the disk before it takes the old one's place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def drafted(path: Path, text: str) -> Iterator[Path]:
    """Write a text beside a file, hidden, and let the block look at it; it takes the file's place when the block ends.

    Where the block raises, the file stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.new")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield draft
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def write(path: Path, text: str) -> None:
    """Put a text in the place of a file's."""
    with drafted(path, text):
        pass
