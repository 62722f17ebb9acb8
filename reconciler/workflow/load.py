"""Loads and checks the files of one run: the cluster file and the slice files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from reconciler.errors import Problem, SpecError, UsageError
from reconciler.spec.check.files import check
from reconciler.spec.check.images import check_images, used_images
from reconciler.spec.load import ClusterFile, Documents, PartialFile, SliceFile, load_cluster, read_slices
from reconciler.spec.qcow2 import HEADER
from reconciler.spec.tree import FileTree
from reconciler.trees import DISK
from reconciler.workflow.documents import DocumentCache


@dataclass(frozen=True, slots=True)
class Inputs:
    """The cluster file and the slice files of one run, checked against each other."""

    cluster: ClusterFile
    slices: tuple[SliceFile, ...] = ()

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each file, by its path: its SHA-256, or a scrypt digest if it has secrets."""
        found = {self.cluster.path: self.cluster.digest}
        for file in self.slices:
            found |= {file.path: file.digest, **file.attached}
        return found


def load(cluster: Path, paths: Sequence[Path], tree: FileTree = DISK, documents: DocumentCache | None = None) -> Inputs:
    """Read and check the files of a tree; raises SpecError with every problem, UsageError if there is no slice file.

    What is valid is checked against the cluster even if other files, or other parts of a file, are not valid. With
    `documents`, files that a run before has parsed are not parsed again.
    """
    partial: list[PartialFile] = []
    slices, malformed = read_slices(tree, paths, documents, partial)
    try:
        cluster_file = load_cluster(tree, cluster)
    except SpecError as error:
        raise SpecError([*error.found, *malformed]) from None
    of_images = check_images(cluster_file, slices, _image_headers(cluster_file, slices))
    if problems := [*malformed, *check(cluster_file, slices, partial), *of_images]:
        raise SpecError(problems)
    if paths and not slices:
        where = ", ".join(str(path) for path in paths)
        raise UsageError(f"there is no slice file in {where}", hint="slice files end in .yaml or .yml")
    if documents is not None:
        documents.save()
    return Inputs(cluster_file, slices)


class PartlyLoaded(NamedTuple):
    """What is valid of the files, and the problems of the rest; without a valid cluster file there are no inputs."""

    inputs: Inputs | None
    problems: tuple[Problem, ...]


def load_partly(cluster: str, paths: Sequence[str], tree: FileTree, documents: Documents | None = None) -> PartlyLoaded:
    """Read and check the files of a tree as `load` does, and return those that have no problem.

    No image file is opened: what a tree that is reviewed names is not meant for this machine.
    """
    partial: list[PartialFile] = []
    slices, malformed = read_slices(tree, [path for path in paths if tree.kind(path)], documents, partial)
    try:
        cluster_file = load_cluster(tree, cluster)
    except SpecError as error:
        return PartlyLoaded(None, (*error.found, *malformed))
    problems = (*malformed, *check(cluster_file, slices, partial))
    wrong = {problem.location.file for problem in problems if problem.location is not None}
    if tree.name(cluster) in wrong:
        return PartlyLoaded(None, problems)
    return PartlyLoaded(
        Inputs(cluster_file, tuple(file for file in slices if tree.name(file.path) not in wrong)), problems
    )


def image_files(cluster: ClusterFile) -> dict[str, Path]:
    """Return the local file of each image by its name; relative paths start at the cluster file."""
    folder = Path(cluster.path).parent
    return {name: folder / Path(image.file).expanduser() for name, image in cluster.cluster.images.items()}


def _image_headers(cluster: ClusterFile, slices: Sequence[SliceFile]) -> dict[str, tuple[str, bytes]]:
    """Read the first bytes of the images that these slices use, as far as their files are on this machine."""
    files, found = image_files(cluster), {}
    for name in used_images(cluster, slices):
        with suppress(OSError), files[name].open("rb") as file:
            found[name] = str(files[name]), file.read(HEADER)
    return found
