"""Reads the files of a disk folder, or of a revision in Git without a checkout."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, NamedTuple

from reconciler.errors import UsageError
from reconciler.spec.tree import (
    ABSENT,
    MAX_BYTES,
    NOT_A_PATH,
    OUTSIDE,
    TOO_LARGE,
    Entry,
    FileTree,
    Kind,
    ListedTree,
    Unreadable,
    is_within,
)

CLUSTER_FILE: Final = "cluster.yaml"


class DiskTree:
    """Files on the disk. With a `root`, paths are relative to it and may not lead outside, by symbolic links either.

    Without one, paths are as the operating system takes them: absolute, or relative to the current folder.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root

    def name(self, path: str) -> str:
        """Return the path as it was given."""
        return path

    def kind(self, path: str) -> Kind | None:
        """Return what a path leads to; None if there is nothing, or nothing that may be read."""
        try:
            mode = self._inside(path).stat().st_mode
        except (OSError, ValueError, Unreadable):
            return None
        return Kind.FILE if stat.S_ISREG(mode) else Kind.FOLDER if stat.S_ISDIR(mode) else Kind.OTHER

    def entries(self, folder: str) -> Collection[Entry]:
        """Return what is in a folder, without symbolic links to folders; raises Unreadable."""
        try:
            with os.scandir(self._inside(folder)) as found:
                kinds = [(one.name, _is_folder(one), one.is_symlink()) for one in found]
        except OSError as error:
            raise Unreadable(f"this folder cannot be read: {error.strerror}") from None
        return [Entry(name, is_folder) for name, is_folder, is_link in kinds if not (is_folder and is_link)]

    def read(self, path: str) -> bytes:
        """Return the content of a file of at most MAX_BYTES; raises Unreadable."""
        try:
            place = self._inside(path)
            mode = place.stat().st_mode
            if not stat.S_ISREG(mode):
                raise Unreadable("this is a folder, not a file" if stat.S_ISDIR(mode) else "this is not a regular file")
            with place.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise Unreadable(ABSENT) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else NOT_A_PATH
            raise Unreadable(f"this file cannot be read: {reason}") from None
        if len(content) > MAX_BYTES:
            raise Unreadable(TOO_LARGE)
        return content

    def resolve(self, path: str) -> str:
        """Return an absolute path with symbolic links followed; raises Unreadable."""
        try:
            return os.path.realpath(path if self._root is None else self._root / path)
        except (OSError, ValueError):
            raise Unreadable(NOT_A_PATH) from None

    def _inside(self, path: str) -> Path:
        """Return where a path is on the disk; raises Unreadable if it leads out of the root."""
        if self._root is None:
            return Path(path)
        if not is_within(self.resolve(path), os.path.realpath(self._root)):
            raise Unreadable(f"{OUTSIDE} {self._root}", "name files below it only")
        return self._root / path


DISK: Final[FileTree] = DiskTree()
"""All files of this machine, by the paths that users give."""


def find_cluster(start: Path) -> Path | None:
    """Return the `cluster.yaml` of a folder or of the nearest folder above it, or None."""
    folder = start.absolute()
    return next((each / CLUSTER_FILE for each in (folder, *folder.parents) if (each / CLUSTER_FILE).is_file()), None)


@contextmanager
def git_tree(repository: Path, revision: str) -> Iterator[FileTree]:
    """Read the files of a revision: a branch, a tag or a commit; raises UsageError if there is no such revision.

    Git's objects are read as they are: no checkout, no hook, no filter, no fetch. Paths are relative to the top of the
    repository; messages name them `REVISION:PATH`.
    """
    commit = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise UsageError(f"{repository} has no revision {revision!r}", hint="name a branch, a tag or a commit")
    objects = dict(_list_objects(_git(repository, "ls-tree", "-r", "-l", "-z", "--full-tree", commit.decode().strip())))
    with _object_reader(repository) as reader:
        links = {path: one.name for path, one in objects.items() if one.mode == _LINK}
        yield ListedTree(
            {path: one.size for path, one in objects.items() if one.mode in _FILES},
            lambda path: reader.read(objects[path].name),
            links={path: os.fsdecode(reader.read(name)) for path, name in links.items()},
            others=[path for path, one in objects.items() if one.mode not in {_LINK, *_FILES}],
            label=revision,
        )


_FILES: Final = frozenset({"100644", "100755", "100664"})
_LINK: Final = "120000"

_SAFE: Final = ("git", "--no-replace-objects", "-c", "core.fsmonitor=false")
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


class _Object(NamedTuple):
    """A file, symbolic link or submodule of a revision."""

    mode: str
    name: str
    size: int


class _ObjectReader:
    """Asks a running `git cat-file --batch` for the contents of objects."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests, self._answers = requests, answers

    def read(self, name: str) -> bytes:
        """Return an object's content; raises Unreadable if the repository lacks it."""
        try:
            self._requests.write(f"{name}\n".encode())
            self._requests.flush()
            head = self._answers.readline().split()
        except OSError:
            head = []
        if len(head) != 3:  # noqa: PLR2004 - name, type and size; `missing` follows the name of an absent object
            raise Unreadable("this file cannot be read: Git does not have its content")
        content = self._answers.read(int(head[2]))
        self._answers.read(1)
        return content


@contextmanager
def _object_reader(repository: Path) -> Iterator[_ObjectReader]:
    argv = [*_SAFE, "-C", str(repository), "cat-file", "--batch"]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise Unreadable("Git cannot be run")
        yield _ObjectReader(process.stdin, process.stdout)


def _git(repository: Path, *arguments: str) -> bytes | None:
    """Return what Git prints, or None where it fails; raises UsageError if there is no Git."""
    try:
        done = subprocess.run(
            [*_SAFE, "-C", str(repository), *arguments], capture_output=True, check=False, env=_environment()
        )
    except FileNotFoundError:
        raise UsageError("Git is not installed", hint="install it: apt install git") from None
    return done.stdout if done.returncode == 0 else None


def _list_objects(listing: bytes | None) -> Iterator[tuple[str, _Object]]:
    """Parse `git ls-tree -r -l -z`: mode, type, object and size, then a tab and the path."""
    for line in (listing or b"").split(b"\0")[:-1]:
        head, _, path = line.partition(b"\t")
        mode, _, name, size = head.decode().split()
        yield os.fsdecode(path), _Object(mode, name, int(size) if size.isdigit() else 0)


def _environment() -> Mapping[str, str]:
    """Return the environment without Git's own variables, which could name another repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | dict(_ENVIRONMENT)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a symbolic link to one; false for a link that leads in a loop."""
    try:
        return entry.is_dir()
    except OSError:
        return False
