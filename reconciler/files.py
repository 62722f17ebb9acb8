"""Writes files atomically: a reader, or a crash at any point, sees the old content or the new one, never a part."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from reconciler.errors import FileWriteError

PRIVATE: Final = 0o600
"""The mode of a file that only its owner may read."""

SHARED: Final = 0o666
"""The mode of an ordinary file, before the umask is applied."""


def write_file(path: Path, content: str | bytes, *, mode: int = PRIVATE) -> None:
    """Replace a file with this content, text as UTF-8; raises FileWriteError where that is not possible."""
    with replacing(path, mode=mode) as fresh, _mapped(path):
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path, *, mode: int = PRIVATE) -> Iterator[Path]:
    """Yield an empty file in the same folder; it replaces `path` when the block ends, and is deleted if it raises.

    The umask applies to `mode`. Raises FileWriteError where the file cannot be created or put in place; what the block
    raises is not changed.
    """
    if not path.name or "\0" in str(path):
        raise FileWriteError(f"{str(path)!r} is not a valid file name", hint="name a file to write")
    with _mapped(path):
        fresh = create_beside(path, mode=mode)
    try:
        yield fresh
        with _mapped(path):
            sync(fresh)
            fresh.replace(path)
            sync(path.parent)
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def create_beside(path: Path, *, mode: int = PRIVATE) -> Path:
    """Create an empty hidden file with a unique name in the folder of `path`; raises OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.new")
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    return fresh


def is_draft(name: str) -> bool:
    """Whether a file's name is one that `create_beside` makes."""
    return _DRAFT.fullmatch(name) is not None


_DRAFT: Final = re.compile(r"\..+\.[0-9]+-[0-9a-f]{8}\.new")


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to the disk; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileWriteError(f"{path} cannot be written: {error.strerror}") from error
