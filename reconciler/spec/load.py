"""Reads slice and cluster files from a tree into expanded slices, and reports problems with their positions."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from reconciler.errors import Code, Location, Problem, SpecError
from reconciler.files import is_draft
from reconciler.spec.expand import ExpandedSlice, expand
from reconciler.spec.messages import describe, problems_of
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.secret import Secret
from reconciler.spec.models.slice import Link, Slice
from reconciler.spec.salvage import Salvaged, salvage
from reconciler.spec.tree import ABSENT, TOO_LARGE, FileTree, Kind, Unreadable, below, folder_of, is_within, join_path
from reconciler.spec.user_data import extract_user_data
from reconciler.spec.yaml.document import Path, Refused, read_document
from reconciler.spec.yaml.source import Source

_HINTS = {
    ABSENT: "check the path",
    TOO_LARGE: "a slice file takes a few KiB; is this another kind of file?",
}

_USER_DATA = "#cloud-config"
_KERNEL = ("/proc/", "/sys/", "/dev/")
_SUFFIXES = (".yaml", ".yml")
_Model = TypeVar("_Model", bound=BaseModel)


class _PathLike(Protocol):
    def __fspath__(self) -> str: ...


FilePath = str | _PathLike
"""A path of a tree, as text or as a pathlib.Path."""


@dataclass(frozen=True)
class SliceFile:
    """A slice file that was read: `digest` is the SHA-256 of its bytes in hexadecimal.

    If the file contains user-data, the digest is a scrypt digest, which is slow to brute-force. `attached` has such a
    digest of each file of user-data that the slice file names, by that file's path. `place` is the path with symbolic
    links followed, empty where it is in no tree.
    """

    path: str
    slice: ExpandedSlice
    digest: str
    source: Source
    attached: Mapping[str, str] = field(default_factory=dict)
    place: str = ""

    @property
    def links(self) -> Mapping[int, Link]:
        """The links by their index in the file."""
        return dict(enumerate(self.slice.links))

    def locate(self, path: Path) -> Location:
        """Return the position in the file of a value of the expanded slice."""
        return self.source.locate(self.slice.origin(path))


class PartialFile(NamedTuple):
    """A slice file of which a part is not valid: its other parts can be checked too."""

    source: Source
    valid: Salvaged
    place: str

    @property
    def slice(self) -> ExpandedSlice:
        """The valid parts, as of a slice file."""
        return self.valid.slice


@dataclass(frozen=True)
class ClusterFile:
    """A cluster file that was read: `digest` is the SHA-256 of its bytes in hexadecimal, `place` as of a slice file."""

    path: str
    cluster: Cluster
    digest: str
    source: Source
    place: str = ""


class UncheckedFile(NamedTuple):
    """A cluster file whose YAML is valid, and perhaps nothing else: its document, empty if it is no mapping."""

    source: Source
    data: Mapping[str, Any]


class Documents(Protocol):
    """Parsed documents of files that were valid, by the SHA-256 of the file."""

    def get(self, digest: str) -> Any | None:
        """Return the document of a file, or None if it is not known."""
        ...

    def put(self, digest: str, data: Any) -> None:
        """Keep the document of a file, which is never one with user-data."""
        ...


class _PartlyValid(SpecError):
    """A slice file has problems, and parts that are valid."""

    def __init__(self, found: Sequence[Problem], source: Source, valid: Salvaged) -> None:
        super().__init__(found)
        self.source, self.valid = source, valid


class _Found(NamedTuple):
    """A file to read: its path and its place, which is the path with symbolic links followed.

    `folder` is the place of the folder that it was found in: there, cluster files and user-data are left out.
    """

    path: str
    place: str
    folder: str | None

    @property
    def named(self) -> bool:
        """Whether it was named itself."""
        return self.folder is None


def load_cluster(tree: FileTree, path: FilePath) -> ClusterFile:
    """Read a cluster file; raises SpecError with every problem."""
    text, digest = _read(tree, str(path))
    found = _cluster_file(Source(tree.name(str(path)), text), str(path), digest)
    return replace(found, place=tree.resolve(str(path)))


def load_unchecked_cluster(tree: FileTree, path: FilePath) -> UncheckedFile:
    """Read a cluster file without checking what it says; raises SpecError if it is no YAML."""
    text, _ = _read(tree, str(path))
    source = Source(tree.name(str(path)), text)
    data = _document(source)
    return UncheckedFile(source, data if isinstance(data, dict) else {})


def load_slices(tree: FileTree, paths: Collection[FilePath]) -> tuple[SliceFile, ...]:
    """Read slice files as `read_slices` does; raises SpecError with every problem of every file."""
    files, problems = read_slices(tree, paths)
    if problems:
        raise SpecError(problems)
    return files


def read_slices(
    tree: FileTree,
    paths: Collection[FilePath],
    documents: Documents | None = None,
    partial: list[PartialFile] | None = None,
) -> tuple[tuple[SliceFile, ...], tuple[Problem, ...]]:
    """Read slice files, and folders of them to any depth; return the well-formed files and the problems of the others.

    Files are sorted by path, so the order of `paths` makes no difference. In folders, only `*.yaml` and `*.yml` files
    are read; hidden files, cluster files, user-data and files of other tools (Compose, Kubernetes, Ansible) are left
    out. A file that is named is always read as a slice.
    With `documents`, a file whose document is known is not parsed again. What is valid of the other files is appended
    to `partial`.
    """
    files: list[SliceFile] = []
    problems: list[Problem] = []
    for found in _find(tree, [str(path) for path in paths], problems):
        try:
            text, digest = _read(tree, found.path)
            if not found.named and text.startswith(_USER_DATA):
                continue
            source = Source(tree.name(found.path), text)
            known = None if documents is None else documents.get(digest)
            data = _document(source) if known is None else known
            if not found.named and (_is_cluster(data) or _foreign_tool(data)):
                continue
            file = _slice_file(data, source, digest, found.path, tree)
            files.append(replace(file, place=found.place))
            if documents is not None and file.digest == digest and not file.attached:
                documents.put(digest, data)
        except SpecError as error:
            problems.extend(error.found)
            if partial is not None and isinstance(error, _PartlyValid):
                partial.append(PartialFile(error.source, error.valid, found.place))
    return tuple(files), tuple(problems)


def file_digest(tree: FileTree, path: FilePath) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal; raises SpecError if it cannot be read as text."""
    return _read(tree, str(path))[1]


def parse_slice(text: str, file_name: str) -> SliceFile:
    """Read the text of a slice file, which may not name other files; raises SpecError with every problem."""
    source = Source(file_name, text)
    return _slice_file(_document(source), source, _digest(text.encode()), file_name, None)


def parse_cluster(text: str, file_name: str) -> ClusterFile:
    """Read the text of a cluster file; raises SpecError with every problem."""
    return _cluster_file(Source(file_name, text), file_name, _digest(text.encode()))


_SLICE_KEYS = frozenset({"owner", "vms", "links"})


def _is_cluster(data: Any) -> bool:
    return isinstance(data, dict) and "workers" in data


def _foreign_tool(data: Any) -> str | None:
    """Return what a document is if it is of another tool: no slice file looks like that, whatever is wrong with it."""
    if isinstance(data, list):
        plays = any(isinstance(play, dict) and "hosts" in play for play in data)
        return "an Ansible playbook" if plays else None
    if not isinstance(data, dict) or _SLICE_KEYS & data.keys():
        return None
    if "services" in data:
        return "a Docker Compose file"
    return "a Kubernetes manifest" if {"apiVersion", "kind"} <= data.keys() else None


def _slice_file(data: Any, source: Source, digest: str, path: str, tree: FileTree | None) -> SliceFile:
    if _is_cluster(data) and "vms" not in data:
        summary = f"{source.file} is a cluster file, not a slice file"
        raise SpecError([source.problem(Code.WRONG_TYPE, summary, (), "name slice files here, and it with --cluster")])
    if tool := _foreign_tool(data):
        summary = f"{source.file} is {tool}, not a slice file"
        hint = "a slice file has `name`, `owner` and `vms`: `reconciler init` writes one to start from"
        raise SpecError([source.problem(Code.WRONG_TYPE, summary, (), hint)])
    user_data = extract_user_data(data, source, lambda name: _attached(tree, folder_of(path), name))
    model = _slice(data, source, user_data.problems)
    if user_data.inline:
        digest = Secret(source.text.encode()).digest(model.key)
    attached = {join_path(folder_of(path), name): one.digest(model.key) for name, one in user_data.files.items()}
    return SliceFile(path, expand(model), digest, source, attached)


def _slice(data: Any, source: Source, also: Sequence[Problem]) -> Slice:
    """Return the model of a slice file's document; raises SpecError with its problems and those in `also`."""
    _expect_mapping(Slice, data, source)
    try:
        model = Slice.model_validate(data)
    except ValidationError as error:
        found = [*problems_of(error, Slice, source), *also]
        valid = salvage(data, error)
        raise (SpecError(found) if valid is None else _PartlyValid(found, source, valid)) from None
    if also:
        expanded = expand(model)
        raise _PartlyValid(also, source, Salvaged(expanded, dict(enumerate(model.links)), frozenset()))
    return model


def _attached(tree: FileTree | None, folder: str, name: str) -> bytes:
    """Read a file that a slice file names: it must be below that file's folder, symbolic links followed."""
    if tree is None:
        raise Unreadable("only a slice file in a folder can name other files")
    path, top = tree.resolve(join_path(folder, name)), tree.resolve(folder)
    if not is_within(path, top):
        raise Unreadable("it is outside the folder of this slice file", "name a file in the same folder or below")
    if _is_hidden(name) or _is_hidden(below(path, top)):
        raise Unreadable("it is hidden", "guests get only files that are not hidden, such as web.yaml")
    return tree.read(path)


def _is_hidden(path: str) -> bool:
    """Whether a path has a hidden part, such as `.git`."""
    return any(part.startswith(".") and part not in {".", ".."} for part in path.split("/"))


def _cluster_file(source: Source, path: str, digest: str) -> ClusterFile:
    data = _document(source)
    if isinstance(data, dict) and _SLICE_KEYS & data.keys() and not _is_cluster(data):
        summary = f"{source.file} is a slice file, not a cluster file"
        raise SpecError([source.problem(Code.WRONG_TYPE, summary, (), "name the cluster file with --cluster")])
    return ClusterFile(path, _validate(Cluster, data, source), digest, source)


def _document(source: Source) -> Any:
    try:
        return read_document(source.text)
    except Refused as refusal:
        location = Location(source.file, refusal.mark.line, refusal.mark.column)
        raise SpecError([source.problem_at(refusal.code, refusal.summary, location, refusal.hint)]) from None


def _expect_mapping(model: type[BaseModel], data: Any, source: Source) -> None:
    if not isinstance(data, dict):
        summary = f"a {model.__name__.lower()} file must be a mapping of keys and values, not {describe(data)}"
        raise SpecError([source.problem(Code.WRONG_TYPE, summary, (), "start it with `version: 1`")])


def _validate(model: type[_Model], data: Any, source: Source) -> _Model:
    _expect_mapping(model, data, source)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SpecError(problems_of(error, model, source)) from None


def _find(tree: FileTree, paths: Collection[str], problems: list[Problem]) -> Iterator[_Found]:
    """Yield the files that the paths name or contain, each once and sorted; append a problem for each missing one."""
    found: dict[str, _Found] = {}
    for path, folder in _candidates(tree, paths, problems):
        try:
            each = _Found(path, tree.resolve(path), folder)
            _refuse_stray(each)
        except Unreadable as error:
            problems.append(_unreadable(tree, path, error))
            continue
        if each.named or each.place not in found:
            found[each.place] = each
    yield from sorted(found.values(), key=lambda each: each.path)


def _refuse_stray(found: _Found) -> None:
    """Raise Unreadable for a file that is no slice file whatever it contains; its content is not quoted.

    These are links in a folder to files outside of it or to hidden ones, and hidden files and those of the kernel that
    are named.
    """
    if found.folder is not None:
        if not is_within(found.place, found.folder):
            raise Unreadable("this is a link to a file outside of its folder", "copy the file, or name it itself")
        if _is_hidden(below(found.place, found.folder)):
            raise Unreadable("this is a link to a hidden file", "copy the file, or remove the link")
    elif found.place.startswith(_KERNEL):
        raise Unreadable("this is not a file of a disk", "name slice files, or folders of them")
    elif _names_hidden(found.path):
        raise Unreadable("this is a hidden file", "slice files are not hidden: rename it, such as web.yaml")


def _names_hidden(path: str) -> bool:
    """Whether a path is of a hidden file, other than a draft that this program has written itself."""
    name = path.rpartition("/")[2]
    return "/.git/" in f"/{path}" or (_is_hidden(name) and not is_draft(name))


def _candidates(tree: FileTree, paths: Collection[str], problems: list[Problem]) -> Iterator[tuple[str, str | None]]:
    """Yield each path that may be of a slice file, and the place of the folder that it was found in, if it was."""
    for path in paths:
        if tree.kind(path) is Kind.FOLDER:
            folder = tree.resolve(path)
            yield from ((each, folder) for each in _walk(tree, path, problems))
        else:
            yield path, None


def _walk(tree: FileTree, folder: str, problems: list[Problem]) -> Iterator[str]:
    try:
        entries = tree.entries(folder)
    except Unreadable as error:
        problems.append(_unreadable(tree, folder, error))
        return
    for entry in sorted(entries):
        if entry.name.startswith("."):
            continue
        path = join_path(folder, entry.name)
        if entry.is_folder:
            yield from _walk(tree, path, problems)
        elif entry.name.endswith(_SUFFIXES):
            yield path


def _read(tree: FileTree, path: str) -> tuple[str, str]:
    """Return a file's text and digest; raises SpecError if it is not a text file of a limited size.

    A name that is not UTF-8 is refused too: plans and errors, which name the file, could not be written.
    """
    name = tree.name(path)
    if (readable := name.encode("utf-8", "backslashreplace").decode()) != name:
        summary = "the name of this file is not valid UTF-8"
        raise SpecError([Problem(Code.FILE_UNREADABLE, summary, Location(readable), "rename the file")])
    try:
        content = tree.read(path)
    except Unreadable as error:
        raise SpecError([_unreadable(tree, path, error)]) from None
    return _decode(content, name), _digest(content)


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        summary = f"not valid UTF-8: unexpected byte 0x{content[error.start]:02x}"
        problem = Problem(Code.FILE_UNREADABLE, summary, Location(name, line, column), "save the file as UTF-8")
        raise SpecError([problem]) from None


def _unreadable(tree: FileTree, path: str, error: Unreadable) -> Problem:
    hint = error.hint or _HINTS.get(error.summary)
    return Problem(Code.FILE_UNREADABLE, error.summary, Location(tree.name(path)), hint)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
