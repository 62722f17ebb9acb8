"""Files to models: the one module of this package that reads files; rules across fields and files are check.py's."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from reconciler.errors import Code, Location, Problem, SpecError
from reconciler.spec.expand import ExpandedSlice, expand
from reconciler.spec.messages import describe, problems_of
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.secret import Secret
from reconciler.spec.models.slice import Slice
from reconciler.spec.quoting import escape
from reconciler.spec.user_data import Unreadable, gather
from reconciler.spec.yaml.document import Path as YamlPath
from reconciler.spec.yaml.document import Refused, read_document
from reconciler.spec.yaml.source import Source

MAX_BYTES = 2**20
"""A file larger than this is not read: five hundred times what a slice of ten VMs takes."""

_ABSENT = "no such file or folder"
_TOO_LARGE = f"this file is larger than {MAX_BYTES // 2**20} MiB"
_HINTS = {
    _ABSENT: "check the path, from where you are",
    _TOO_LARGE: "a slice file takes a few KiB; is this another kind of file?",
}

CLUSTER_FILE = "cluster.yaml"
_USER_DATA = "#cloud-config"
_SUFFIXES = (".yaml", ".yml")
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class SliceFile:
    """A slice file that was read: `digest` is the SHA-256 of its bytes in hexadecimal.

    With user-data in it the digest is one that is dear to guess from. `attached` has such a digest of each file of
    user-data that it names, by that file's path.
    """

    path: str
    slice: ExpandedSlice
    digest: str
    source: Source
    attached: Mapping[str, str] = field(default_factory=dict)

    def locate(self, path: YamlPath) -> Location:
        """Return the place in the file where a value of the expanded slice is written."""
        return self.source.locate(self.slice.origin(path))


@dataclass(frozen=True)
class ClusterFile:
    """A cluster file that was read: `digest` is the SHA-256 of its bytes in hexadecimal."""

    path: str
    cluster: Cluster
    digest: str
    source: Source


class _Found(NamedTuple):
    """A file to read; one found in a folder may turn out to be a cluster file, and is then left out."""

    path: Path
    named: bool


def load_cluster(path: Path) -> ClusterFile:
    """Read a cluster file; raises SpecError with everything that is wrong with it."""
    text, digest = _read(path)
    return _cluster_file(text, str(path), digest)


def load_slices(paths: Sequence[Path], *, root: Path | None = None) -> tuple[SliceFile, ...]:
    """Read slice files as `read_slices` does; raises SpecError with every problem of every file."""
    files, problems = read_slices(paths, root=root)
    if problems:
        raise SpecError(problems)
    return files


def read_slices(
    paths: Sequence[Path], *, root: Path | None = None
) -> tuple[tuple[SliceFile, ...], tuple[Problem, ...]]:
    """Read slice files, and folders of them to any depth; return the well-formed ones, and every problem of the others.

    Files come sorted by path, whatever the order given. In folders only `*.yaml` and `*.yml` count, hidden ones,
    cluster files and user-data do not; a file that is named is always read as a slice. With `root`, a path that leads
    outside it, by a symbolic link too, is refused.
    """
    files: list[SliceFile] = []
    problems: list[Problem] = []
    for found in _find(paths, problems):
        try:
            _refuse_outside(found.path, root)
            text, digest = _read(found.path)
            if not found.named and text.startswith(_USER_DATA):
                continue
            data = _document(text, str(found.path))
            if not found.named and isinstance(data, dict) and "workers" in data:
                continue
            files.append(_slice_file(data, Source(str(found.path), text), digest, found.path.parent))
        except SpecError as error:
            problems.extend(error.found)
    return tuple(files), tuple(problems)


def find_cluster(start: Path) -> Path | None:
    """Return the `cluster.yaml` of a folder or of the nearest one above it, or None."""
    folder = start.absolute()
    return next((each / CLUSTER_FILE for each in (folder, *folder.parents) if (each / CLUSTER_FILE).is_file()), None)


def parse_slice(text: str, file_name: str) -> SliceFile:
    """Read the text of a slice file, which may name no other file; raises SpecError with all that is wrong with it."""
    return _slice_file(_document(text, file_name), Source(file_name, text), _digest(text.encode()), None)


def parse_cluster(text: str, file_name: str) -> ClusterFile:
    """Read the text of a cluster file; raises SpecError with everything that is wrong with it."""
    return _cluster_file(text, file_name, _digest(text.encode()))


def _slice_file(data: Any, source: Source, digest: str, folder: Path | None) -> SliceFile:
    gathered = gather(data, source, lambda name: _attached(folder, name))
    try:
        model, _ = _validate(Slice, data, source)
    except SpecError as error:
        raise SpecError([*error.found, *gathered.problems]) from None
    if gathered.problems:
        raise SpecError(gathered.problems)
    if gathered.written:
        digest = Secret(source.text.encode()).digest(model.key)
    attached = {str((folder or Path()) / name): found.digest(model.key) for name, found in gathered.files.items()}
    return SliceFile(source.file, expand(model), digest, source, attached)


def _attached(folder: Path | None, name: str) -> bytes:
    """Read a file that a slice file names: it must lie below that file's folder, symbolic links followed."""
    if folder is None:
        raise Unreadable("it can only be read for a slice file that stands in a folder")
    try:
        root = os.path.realpath(folder)
        path = Path(os.path.realpath(Path(root) / name))
    except (OSError, ValueError):
        raise Unreadable("not a path") from None
    if not path.is_relative_to(root):
        raise Unreadable("it lies outside the folder of this slice file", "name a file beside it or below")
    return _content(path)


def _cluster_file(text: str, file_name: str, digest: str) -> ClusterFile:
    model, source = _validate(Cluster, _document(text, file_name), Source(file_name, text))
    return ClusterFile(file_name, model, digest, source)


def _document(text: str, file_name: str) -> Any:
    try:
        return read_document(text)
    except Refused as refusal:
        location = Location(file_name, refusal.mark.line, refusal.mark.column)
        excerpt = Source(file_name, text).excerpt(location.line)
        raise SpecError([Problem(refusal.code, refusal.summary, location, refusal.hint, excerpt)]) from None


def _validate(model: type[_Model], data: Any, source: Source) -> tuple[_Model, Source]:
    if not isinstance(data, dict):
        summary = f"a {model.__name__.lower()} file must be a mapping of keys and values, not {describe(data)}"
        raise SpecError([source.problem(Code.WRONG_TYPE, summary, (), "begin it with `version: 1`")])
    try:
        return model.model_validate(data), source
    except ValidationError as error:
        raise SpecError(problems_of(error, model, source)) from None


def _find(paths: Sequence[Path], problems: list[Problem]) -> Iterator[_Found]:
    """Yield the files that the paths name or hold, each once and sorted; notes those that are not there."""
    found: dict[str, _Found] = {}
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir, false for a path that cannot be
            for each in _walk(path, problems):
                found.setdefault(os.path.realpath(each), _Found(each, named=False))
        else:
            found[os.path.realpath(path)] = _Found(path, named=True)
    yield from sorted(found.values(), key=lambda each: each.path.as_posix())


def _walk(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    def note(error: OSError) -> None:
        problems.append(_unreadable(Path(error.filename), f"this folder cannot be read: {error.strerror}"))

    for where, folders, names in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, name) for name in names if name.endswith(_SUFFIXES) and not name.startswith("."))


def _refuse_outside(path: Path, root: Path | None) -> None:
    if root is not None and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise SpecError([_unreadable(path, f"this file lies outside {escape(str(root))}", "name files below it only")])


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal; raises SpecError where it is no readable text file."""
    return _read(path)[1]


def _read(path: Path) -> tuple[str, str]:
    """Return a file's text and digest; raises SpecError where it is no text file of a bounded size."""
    try:
        content = _content(path)
    except Unreadable as error:
        raise SpecError([_unreadable(path, error.summary, _HINTS.get(error.summary))]) from None
    return _decode(content, path), _digest(content)


def _content(path: Path) -> bytes:
    """Return a file's bytes; raises Unreadable where it is no file of a bounded size."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise Unreadable("this is not a file" + (" but a folder" if path.is_dir() else ""))
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise Unreadable(_ABSENT) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        raise Unreadable(f"this file cannot be read: {reason}") from None
    if len(content) > MAX_BYTES:
        raise Unreadable(_TOO_LARGE)
    return content


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        summary = f"this file is not UTF-8: byte 0x{content[error.start]:02x} fits nowhere"
        problem = Problem(Code.FILE_UNREADABLE, summary, Location(str(path), line, column), "save it as UTF-8")
        raise SpecError([problem]) from None


def _unreadable(path: Path, summary: str, hint: str | None = None) -> Problem:
    return Problem(Code.FILE_UNREADABLE, summary, Location(str(path)), hint)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
