"""Checks what `renamed_from` says of slices, VMs and owners: a former name is one thing's, and nothing has it now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.errors import Code, Problem
from reconciler.spec.load import ClusterFile, SliceFile
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import SliceKey
from reconciler.spec.renames import former_keys
from reconciler.spec.yaml.document import Path
from reconciler.spec.yaml.source import Source

RENAMED_FROM = "renamed_from"
_REMOVE = "remove `renamed_from`, or correct it"
_ONE_AT_A_TIME = "a name that is in use is not a former one: remove `renamed_from`, or apply one rename after the other"


def check_owner_renames(file: ClusterFile) -> Iterator[Problem]:
    """Yield the problems of renamed owners."""
    users = file.cluster.users
    names = {name: user.renamed_from for name, user in users.items()}
    yield from _names(file.source, ("users",), "user", names)


def check_vm_renames(file: SliceFile) -> Iterator[Problem]:
    """Yield the problems of renamed VMs of one slice."""
    names = {name: vm.renamed_from for name, vm in file.slice.written.vms.items()}
    yield from _names(file.source, ("vms",), "VM", names)


def _names(source: Source, parent: Path, noun: str, names: dict[str, str | None]) -> Iterator[Problem]:
    claimed: dict[str, str] = {}
    for name, former in names.items():
        if former is None:
            continue
        path = (*parent, name, RENAMED_FROM)
        if former == name:
            yield source.problem(Code.RENAME, f"{noun} {name} cannot be renamed from its own name", path, _REMOVE)
        elif former in names:
            line = source.locate_key((*parent, former)).line
            summary = f"{noun} {name} cannot be renamed from {former}, which this file has on line {line}"
            yield source.problem(Code.RENAME, summary, path, _ONE_AT_A_TIME)
        elif (other := claimed.setdefault(former, name)) != name:
            line = source.locate((*parent, other, RENAMED_FROM)).line
            summary = f"{noun} {name} cannot be renamed from {former}: {other} is, on line {line}"
            yield source.problem(Code.RENAME, summary, path, _REMOVE)


def check_slice_renames(files: Iterable[SliceFile], cluster: Cluster) -> Iterator[Problem]:
    """Yield the problems of renamed slices, by their own names or their owners', across all files."""
    every = list(files)
    places = {file.slice.key: file for file in every}
    claimed: dict[SliceKey, SliceFile] = {}
    for file in every:
        if file.slice.renamed_from == file.slice.name:
            summary = f"slice {file.slice.key} cannot be renamed from its own name"
            yield file.source.problem(Code.RENAME, summary, (RENAMED_FROM,), _REMOVE)
        for former in former_keys(cluster, file.slice):
            if (known := places.get(former)) is not None:
                where = known.source.locate(("name",))
                summary = f"slice {file.slice.key} cannot be renamed from {former}, which is defined in {where}"
                yield _problem(file, summary, _ONE_AT_A_TIME)
            elif (other := claimed.setdefault(former, file)) is not file:
                place = other.source.locate(rename_path(other))
                summary = f"slice {file.slice.key} cannot be renamed from {former}: {other.slice.key} is, in {place}"
                yield _problem(file, summary, _REMOVE)


def rename_path(file: SliceFile) -> Path:
    """Return where a file says that its slice has another name now; an owner's rename is in the cluster file."""
    return ("owner",) if file.slice.renamed_from is None else (RENAMED_FROM,)


def _problem(file: SliceFile, summary: str, hint: str) -> Problem:
    return file.source.problem(Code.RENAME, summary, rename_path(file), hint)
