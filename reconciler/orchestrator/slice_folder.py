"""Finds the file of a slice in the folder that calls edit, and locks slices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from reconciler.orchestrator.file_lock import locked
from reconciler.spec.load import read_slices
from reconciler.spec.models.names import SliceKey
from reconciler.trees import DISK

FOLDER = "slices"


class SliceFolder:
    """A folder of slice files, which can also be reviewed, committed, planned and applied."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def place(self, key: SliceKey) -> Path:
        """Return the path of a new slice's file: `OWNER/NAME.yaml`."""
        return self.path / f"{key}.yaml"

    def find(self, key: SliceKey) -> Path | None:
        """Return the file of a slice, anywhere in the folder, or None."""
        if (usual := self.place(key)).exists():
            return usual
        files, _ = read_slices(DISK, [path for path in self._files() if _may_have(path, key)])
        return next((Path(file.path) for file in files if file.slice.key == key), None)

    def _files(self) -> Iterator[Path]:
        for suffix in ("yaml", "yml"):
            found = (path.relative_to(self.path) for path in self.path.rglob(f"*.{suffix}"))
            yield from (self.path / path for path in found if not any(part.startswith(".") for part in path.parts))

    def locked(self, key: SliceKey) -> AbstractContextManager[None]:
        """Lock a slice for one call, from reading its file to the end of its apply."""
        return locked(self.path, key.replace("/", "-at-"))


def _may_have(path: Path, key: SliceKey) -> bool:
    """Return whether a file may have a slice; reading a text costs a hundredth of parsing it."""
    return path.is_file() and all(part in path.read_text(encoding="utf-8", errors="replace") for part in key.split("/"))
