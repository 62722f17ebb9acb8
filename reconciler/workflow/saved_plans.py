"""Saves plans to files, reads them, and refuses those whose input files have changed since."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from reconciler import __version__
from reconciler.errors import FileWriteError, PlanFileError, SpecError, UsageError
from reconciler.files import write_file
from reconciler.plan.model import Plan
from reconciler.plan.planfile import SavedPlan, is_plan, read_plan, write_plan
from reconciler.spec.load import file_digest
from reconciler.trees import DISK
from reconciler.workflow.load import Inputs, load

_BEGINNING = 256
"""How many bytes are read to recognise a saved plan."""

_AGAIN = "make the plan again, and review what has changed"


def check_place(out: Path, inputs: Inputs) -> None:
    """Raise UsageError if a plan would overwrite one of its input files."""
    for path in inputs.digests:
        if out.resolve() == Path(path).resolve():
            raise UsageError(f"{out} is an input file of the plan", hint="choose another file")


def save(planned: Plan, inputs: Inputs, out: Path) -> None:
    """Write a plan to a file that only its owner can read, completely or not at all."""
    text = write_plan(SavedPlan(planned, inputs.cluster.path, tuple(file.path for file in inputs.slices)))
    try:
        write_file(out, text)
    except FileWriteError as error:
        raise PlanFileError(error.summary) from error


def find_saved(paths: Sequence[Path]) -> Path | None:
    """Return the saved plan among paths, or None; raises UsageError if it is not the only path."""
    found = [path for path in paths if _is_saved(path)]
    if found and len(paths) > 1:
        raise UsageError(f"{found[0]} is a saved plan, which is applied alone", hint="do not name other files with it")
    return found[0] if found else None


def _is_saved(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return is_plan(file.read(_BEGINNING).decode("utf-8", "replace"))
    except OSError:
        return False  # it is read again as a slice file, which reports the error


def read_saved(path: Path) -> SavedPlan:
    """Read a saved plan; raises PlanFileError if it is damaged or of another format."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PlanFileError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PlanFileError(f"{path} is damaged: not valid UTF-8", hint="make the plan again") from error
    return read_plan(text, str(path))


def saved_inputs(cluster: Path, saved: SavedPlan, path: Path) -> Inputs:
    """Load the input files of a saved plan; raises PlanFileError if one has changed, or the version is another.

    Slice files are read only for their user-data; everything else is in the plan.
    """
    if saved.plan.tool != __version__:
        raise PlanFileError(
            f"{path} was made by version {saved.plan.tool} of topology-reconciler; this is version {__version__}",
            hint="use that version, or make the plan again",
        )
    if _digest(path, saved.cluster, cluster) != saved.plan.inputs[saved.cluster]:
        _refuse(path, saved.cluster, cluster)
    others = [written for written in saved.plan.inputs if written != saved.cluster]
    for written in others:
        _digest(path, written, Path(written))
    try:
        inputs = load(cluster, [Path(written) for written in saved.slices])
    except SpecError as error:
        reason = error.found[0].summary
        raise PlanFileError(f"{path} was made from files that have changed since: {reason}", hint=_AGAIN) from error
    for written in others:
        if inputs.digests.get(written) != saved.plan.inputs[written]:
            _refuse(path, written, Path(written))
    return inputs


def _digest(path: Path, written: str, place: Path) -> str:
    try:
        return file_digest(DISK, place)
    except SpecError as error:
        reason = error.found[0].summary
        raise PlanFileError(f"{path} was made from {written}, which cannot be read: {reason}", hint=_AGAIN) from error


def _refuse(path: Path, written: str, place: Path) -> NoReturn:
    if str(place) != written:
        raise PlanFileError(f"{path} was made from {written}, and {place} is not the same file", hint=_AGAIN)
    raise PlanFileError(f"{path} was made from {written}, which has changed since", hint=_AGAIN)
