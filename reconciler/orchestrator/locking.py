"""Locks between the threads and processes of one machine, as files; what they guard is the callers' part."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

FOLDER: Final = ".locks"
"""Where they are, below the folder of what they guard: hidden, so that no slice is looked for there."""

_IGNORED: Final = ".gitignore"


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Be the only one in this block who names this lock in this folder; others wait, threads of this process too.

    The file stays: to remove it would let two in at once, one by the old file and one by a new one.
    """
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    if not (place / _IGNORED).exists():
        (place / _IGNORED).write_text("*\n", encoding="utf-8")
    with (place / name).open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
