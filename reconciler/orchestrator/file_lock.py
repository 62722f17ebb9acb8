"""Locks between the threads and processes of one machine, as files."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

FOLDER: Final = ".locks"
"""The folder of the lock files; it is hidden, so that no slice file is searched there."""

_IGNORED: Final = ".gitignore"


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold a lock of this name in this folder; other processes and threads wait for it.

    The file stays: if it were removed, two processes could hold the lock at once, one on the old file and one on a new.
    """
    locks = folder / FOLDER
    locks.mkdir(parents=True, exist_ok=True)
    if not (locks / _IGNORED).exists():
        (locks / _IGNORED).write_text("*\n", encoding="utf-8")
    with (locks / name).open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
