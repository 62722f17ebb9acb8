"""Reads the files of a disk folder, or of a revision in Git without a checkout."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import IO, Final, NamedTuple

from reconciler.errors import Code, Location, Problem, SpecError, UsageError
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

MAX_ENTRIES: Final = 200_000
"""How many files, links and submodules a revision may have."""

MAX_TOTAL: Final = 16 * 2**20
"""How many bytes are read of a revision: 8,000 slice files with ten VMs. A branch that is reviewed may be hostile."""

_MAX_TARGET: Final = 4096
"""The longest target of a symbolic link, as in Linux."""

_NO_OBJECTS: Final[Mapping[str, str]] = MappingProxyType({})
"""The environment of Git where a repository has all objects itself."""


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


class Revision(NamedTuple):
    """A revision of a repository, by the name that a user gave, and its commit in hexadecimal."""

    name: str
    commit: str


def find_revision(repository: Path, name: str) -> Revision:
    """Return a branch, a tag or a commit; raises UsageError if there is none of this name."""
    commit = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if commit is None:
        raise UsageError(f"{repository} has no revision {name!r}", hint="name a branch, a tag or a commit")
    return Revision(name, commit.decode().strip())


@contextmanager
def git_tree(repository: Path, revision: str, label: str | None = None) -> Iterator[FileTree]:
    """Read the files of a revision: a branch, a tag or a commit; raises UsageError if there is no such revision.

    Git's objects are read as they are: no checkout, no hook, no filter, no fetch. Paths are relative to the top of the
    repository; messages name them `REVISION:PATH`, or by the path alone if `label` is empty.
    """
    name = revision if label is None else label
    with _tree(repository, find_revision(repository, revision).commit, name) as tree:
        yield tree


class Merges:
    """Merges revisions of a repository as Git would; what that makes is kept apart from it, until the block ends."""

    def __init__(self, repository: Path, environment: Mapping[str, str]) -> None:
        self._repository, self._environment = repository, environment

    def merge(self, base: Revision, head: Revision) -> Revision:
        """Return the commit that a merge of `head` into `base` makes, under the name of the base.

        Raises UsageError if the two have no common commit, and SpecError with each file that cannot be merged.
        """
        common = self._git("merge-base", base.commit, head.commit)
        if common.returncode:
            raise UsageError(
                f"{base.name} and {head.name} have no common commit",
                hint="a shallow clone lacks it: git fetch --unshallow, or fetch-depth: 0 in a workflow",
            )
        if (oldest := common.stdout.decode().strip()) in {base.commit, head.commit}:
            return Revision(base.name, head.commit if oldest == base.commit else base.commit)
        made = self._git(
            "commit-tree", self._merged(base, head), "-p", base.commit, "-p", head.commit, "-m", "Merge", **_NOBODY
        )
        return Revision(base.name, made.stdout.decode().strip())

    def tree(self, revision: Revision) -> AbstractContextManager[FileTree]:
        """Read the files of a revision or of a merge; messages name them by their paths alone."""
        return _tree(self._repository, revision.commit, "", self._environment)

    def _merged(self, base: Revision, head: Revision) -> str:
        """Return the tree of a merge; raises SpecError with each file that both have changed in different ways."""
        done = self._git("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", base.commit, head.commit)
        tree, *rest = done.stdout.split(b"\0")
        if done.returncode == 0:
            return tree.decode().strip()
        conflicts = sorted({os.fsdecode(path) for path in rest if path})
        if done.returncode != 1 or not conflicts:
            raise UsageError(
                f"Git cannot merge {head.name} into {base.name}", hint="merge-tree needs Git 2.38 or later"
            )
        hint = f"merge {base.name} into {head.name}, and resolve it there"
        summary = f"{head.name} and {base.name} have both changed this file: it cannot be merged"
        raise SpecError([Problem(Code.FILE_UNREADABLE, summary, Location(path), hint) for path in conflicts])

    def _git(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        return _run_git(self._repository, arguments, {**self._environment, **environment})


_NOBODY: Final = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "nobody"), ("EMAIL", "nobody@localhost"), ("DATE", "@0 +0000"))
}
"""Who makes merges that nobody keeps."""


@contextmanager
def merges(repository: Path) -> Iterator[Merges]:
    """Merge revisions in this block; nothing is written into the repository."""
    objects = _git(repository, "rev-parse", "--path-format=absolute", "--git-path", "objects") or b""
    with TemporaryDirectory(prefix="reconciler-merge-") as scratch:
        yield Merges(
            repository,
            {
                "GIT_OBJECT_DIRECTORY": scratch,
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.fsdecode(objects).rstrip("\n"),
            },
        )


@contextmanager
def _tree(repository: Path, name: str, label: str, environment: Mapping[str, str] = _NO_OBJECTS) -> Iterator[FileTree]:
    """Read the files of a commit or a tree; `environment` says where Git finds objects, if not in the repository."""
    done = _run_git(repository, ["ls-tree", "-r", "-l", "-z", "--full-tree", name], environment)
    if done.returncode:
        raise UsageError(f"{repository} does not have all files of {label or name}", hint="fetch it whole: no --filter")
    listing = done.stdout
    if listing.count(b"\0") > MAX_ENTRIES:
        raise UsageError(f"{label or name} has more than {MAX_ENTRIES} files", hint="this is no repository of slices")
    objects = dict(_list_objects(listing))
    with _object_reader(repository, environment) as reader:
        links = {path: one.name for path, one in objects.items() if one.mode == _LINK and one.size <= _MAX_TARGET}
        yield ListedTree(
            {path: one.size for path, one in objects.items() if one.mode in _FILES},
            lambda path: reader.read(objects[path].name, objects[path].size),
            links={path: os.fsdecode(reader.read(name, 0)) for path, name in links.items()},
            others=[path for path, one in objects.items() if path not in links and one.mode not in _FILES],
            label=label,
        )


_FILES: Final = frozenset({"100644", "100755", "100664"})
_LINK: Final = "120000"

_SAFE: Final = ("git", "--no-replace-objects", "-c", "core.fsmonitor=false", "-c", "protocol.allow=never")
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "GIT_ALLOW_PROTOCOL": "none",  # a partial clone would fetch what it lacks
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
        self._left = MAX_TOTAL

    def read(self, name: str, size: int) -> bytes:
        """Return an object's content of this size; raises Unreadable if the repository lacks it, or if it is too much.

        What is read of one revision may be MAX_TOTAL bytes; objects of size 0 do not count.
        """
        self._left -= size
        if self._left < 0:
            raise Unreadable(f"the files of this revision have more than {MAX_TOTAL // 2**20} MiB together")
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
def _object_reader(repository: Path, environment: Mapping[str, str]) -> Iterator[_ObjectReader]:
    argv = [*_SAFE, "-C", str(repository), "cat-file", "--batch"]
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(_environment()) | dict(environment),
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise Unreadable("Git cannot be run")
        yield _ObjectReader(process.stdin, process.stdout)


def _git(repository: Path, *arguments: str) -> bytes | None:
    """Return what Git prints, or None where it fails; raises UsageError if there is no Git."""
    done = _run_git(repository, arguments)
    return done.stdout if done.returncode == 0 else None


def _run_git(
    repository: Path, arguments: Sequence[str], environment: Mapping[str, str] = _NO_OBJECTS
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            [*_SAFE, "-C", str(repository), *arguments],
            capture_output=True,
            check=False,
            env=dict(_environment()) | dict(environment),
        )
    except FileNotFoundError:
        raise UsageError("Git is not installed", hint="install it: apt install git") from None
    except ValueError:  # a NUL, which no argument of a program can have
        raise UsageError(
            f"{repository} has no revision of this name", hint="name a branch, a tag or a commit"
        ) from None


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
