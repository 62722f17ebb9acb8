"""The folder of slice files that calls edit: which file is whose, and each slice's lock; texts are slice_text.py's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from reconciler.orchestrator.locking import locked
from reconciler.spec.load import read_slices
from reconciler.spec.models.names import SliceKey
from reconciler.trees import DISK

FOLDER = "slices"


class SliceFolder:
    """A folder as `plan` and `apply` read it: what calls have written there can be reviewed, committed and applied."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def place(self, key: SliceKey) -> Path:
        """Return where a new slice's file goes: `OWNER/NAME.yaml`."""
        return self.path / f"{key}.yaml"

    def find(self, key: SliceKey) -> Path | None:
        """Return the file that has a slice, wherever it lies in the folder."""
        if (usual := self.place(key)).exists():
            return usual
        files, _ = read_slices(DISK, [path for path in self._files() if _may_have(path, key)])
        return next((Path(file.path) for file in files if file.slice.key == key), None)

    def _files(self) -> Iterator[Path]:
        for suffix in ("yaml", "yml"):
            found = (path.relative_to(self.path) for path in self.path.rglob(f"*.{suffix}"))
            yield from (self.path / path for path in found if not any(part.startswith(".") for part in path.parts))

    def locked(self, key: SliceKey) -> AbstractContextManager[None]:
        """Be the only one whose call edits a slice, from reading its file to the end of what is then applied."""
        return locked(self.path, key.replace("/", "-at-"))


def _may_have(path: Path, key: SliceKey) -> bool:
    """Whether a file may be that of a slice: reading a text costs a hundredth of checking it."""
    return path.is_file() and all(part in path.read_text(encoding="utf-8", errors="replace") for part in key.split("/"))
