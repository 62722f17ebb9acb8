"""Defines where files are read from: a FileTree may be a disk folder, a revision in Git, or memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from enum import Enum, auto
from typing import Final, NamedTuple, Protocol

MAX_BYTES: Final = 2**20
"""The largest file that is read, in bytes: 500 times the size of a slice file with ten VMs."""

MAX_LINKS: Final = 40
"""Symbolic links followed in one path at most, as in Linux."""

ABSENT: Final = "no such file or folder"
TOO_LARGE: Final = f"this file is larger than {MAX_BYTES // 2**20} MiB"
NOT_A_PATH: Final = "not a path"
OUTSIDE: Final = "this path leads outside"


class Unreadable(Exception):
    """A file cannot be read: the reason, and a hint."""

    def __init__(self, summary: str, hint: str | None = None) -> None:
        super().__init__(summary)
        self.summary, self.hint = summary, hint


class Kind(Enum):
    """What a path leads to, symbolic links followed."""

    FILE = auto()
    FOLDER = auto()
    OTHER = auto()


class Entry(NamedTuple):
    """An entry of a folder: its name, and whether it is a folder itself."""

    name: str
    is_folder: bool


class FileTree(Protocol):
    """Files by path. Paths use `/`; each tree says what they are relative to."""

    def name(self, path: str) -> str:
        """Return how messages name a path."""
        ...

    def kind(self, path: str) -> Kind | None:
        """Return what a path leads to; None if there is nothing."""
        ...

    def entries(self, folder: str) -> Collection[Entry]:
        """Return what is in a folder, without symbolic links to folders; raises Unreadable."""
        ...

    def read(self, path: str) -> bytes:
        """Return the content of a file of at most MAX_BYTES; raises Unreadable."""
        ...

    def resolve(self, path: str) -> str:
        """Return a path with symbolic links followed, the same for all paths of one file; raises Unreadable."""
        ...


def join_path(folder: str, name: str) -> str:
    """Join a folder and a path below it; an absolute path stays as it is."""
    whole = name if name.startswith("/") else f"{folder}/{name}"
    parts = [part for part in whole.split("/") if part not in {"", "."}]
    return ("/" if whole.startswith("/") and (folder or name.startswith("/")) else "") + "/".join(parts) or "."


def folder_of(path: str) -> str:
    """Return the folder that a path is in; `.` for a name alone."""
    folder, slash, _ = path.rpartition("/")
    return folder or (slash or ".")


def is_within(path: str, folder: str) -> bool:
    """Whether a resolved path is a resolved folder or is below it."""
    return folder in {path, "."} or path.startswith(folder.rstrip("/") + "/")


def below(path: str, folder: str) -> str:
    """Return a resolved path relative to a resolved folder that it is within; other paths stay as they are."""
    return path if folder == "." else path.removeprefix(folder.rstrip("/") + "/")


class ListedTree:
    """A tree whose paths are known beforehand, such as a revision in Git; contents are fetched when read.

    Paths are relative to the top of the tree, which nothing leads out of. `sizes` are the files with their sizes in
    bytes, `links` the symbolic links with their targets, and `others` what is neither, such as Git's submodules.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        fetch: Callable[[str], bytes],
        *,
        links: Mapping[str, str] | None = None,
        others: Collection[str] = (),
        label: str = "",
    ) -> None:
        self._sizes, self._fetch, self._label = sizes, fetch, label
        self._links = dict(links or {})
        self._others = frozenset(others)
        self._folders: dict[str, set[str]] = {".": set()}
        for path in (*sizes, *self._links, *self._others):
            self._add(path)

    def _add(self, path: str) -> None:
        """Add a path to the folder that it is in, and that folder to its own."""
        while path != ".":
            folder = folder_of(path)
            known = self._folders.setdefault(folder, set())
            name = path.rpartition("/")[2]
            if name in known:
                return
            known.add(name)
            path = folder

    def name(self, path: str) -> str:
        """Return a path after the tree's label, as Git writes it: `main:slices/web.yaml`."""
        return f"{self._label}:{path}" if self._label else path

    def kind(self, path: str) -> Kind | None:
        """Return what a path leads to; None if there is nothing."""
        try:
            found = self.resolve(path)
        except Unreadable:
            return None
        if found in self._folders:
            return Kind.FOLDER
        return Kind.FILE if found in self._sizes else Kind.OTHER if found in self._others else None

    def entries(self, folder: str) -> Collection[Entry]:
        """Return what is in a folder, without symbolic links to folders; raises Unreadable."""
        found = self.resolve(folder)
        if found not in self._folders:
            raise Unreadable(ABSENT)
        return list(self._entries(found))

    def _entries(self, folder: str) -> Iterator[Entry]:
        for name in sorted(self._folders[folder]):
            path = join_path(folder, name)
            if path in self._folders:
                yield Entry(name, is_folder=True)
            elif path not in self._links or self.kind(path) is not Kind.FOLDER:
                yield Entry(name, is_folder=False)

    def read(self, path: str) -> bytes:
        """Return the content of a file of at most MAX_BYTES; raises Unreadable."""
        found = self.resolve(path)
        if found in self._folders:
            raise Unreadable("this is a folder, not a file")
        if found in self._others:
            raise Unreadable("this is not a regular file")
        if found not in self._sizes:
            raise Unreadable(ABSENT)
        if self._sizes[found] > MAX_BYTES:
            raise Unreadable(TOO_LARGE)
        return self._fetch(found)

    def resolve(self, path: str) -> str:
        """Return a path with symbolic links followed; raises Unreadable where it leads out of the tree or in a loop."""
        if "\0" in path:
            raise Unreadable(NOT_A_PATH)
        waiting = _steps(path)
        found: list[str] = []
        followed = 0
        while waiting:
            step = waiting.pop()
            if step == "..":
                if not found:
                    raise Unreadable(f"{OUTSIDE} this tree")
                found.pop()
                continue
            found.append(step)
            target = self._links.get("/".join(found))
            if target is not None:
                followed += 1
                if followed > MAX_LINKS:
                    raise Unreadable("this file cannot be read: Too many levels of symbolic links")
                found.pop()
                waiting += _steps(target)
        return "/".join(found) or "."


class MemoryTree(ListedTree):
    """Files held in memory, by their paths, with symbolic links by their targets."""

    def __init__(self, files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> None:
        super().__init__({path: len(content) for path, content in files.items()}, files.__getitem__, links=links)


def _steps(path: str) -> list[str]:
    """Return the parts of a relative path, last first; raises Unreadable for an absolute path."""
    if path.startswith("/"):
        raise Unreadable(f"{OUTSIDE} this tree")
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]
