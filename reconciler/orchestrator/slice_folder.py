"""The folder of slice files that calls edit: which file is whose, and each slice's lock; texts are slice_text.py's."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from reconciler.orchestrator.locking import locked
from reconciler.spec.load import read_slices
from reconciler.spec.names import SliceKey

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
        files, _ = read_slices([self.path]) if self.path.is_dir() else ((), ())
        return next((Path(file.path) for file in files if file.slice.key == key), None)

    def locked(self, key: SliceKey) -> AbstractContextManager[None]:
        """Be the only one whose call edits a slice, from reading its file to the end of what is then applied."""
        return locked(self.path, key.replace("/", "-at-"))
