"""Saved plans as files: written, recognised by what they hold, read, and refused where other files have changed since.

What stands in them is the codec's part, whether the record has moved on the store's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from reconciler.errors import FileWriteError, PlanFileError, SpecError, UsageError
from reconciler.files import write_file

if TYPE_CHECKING:
    from reconciler.cli.session import Session
    from reconciler.plan.model import Plan
    from reconciler.plan.planfile import SavedPlan
    from reconciler.workflow import Inputs

Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="FILE", envvar="RECONCILER_OUT", help="Save the plan, for `reconciler apply FILE`."
    ),
]

_BEGINNING = 256
"""So many bytes tell what a file is."""

_AGAIN = "make the plan again, and look at what has changed"


def check_place(out: Path, inputs: Inputs) -> None:
    """Raise UsageError where a plan would be written over one of the files it is made from."""
    for path in inputs.digests:
        if out.resolve() == Path(path).resolve():
            raise UsageError(f"{out} is one of the files that the plan is made from", hint="name another file")


def save(planned: Plan, inputs: Inputs, out: Path) -> None:
    """Write a plan whole or not at all, for its owner alone: it tells all of a topology."""
    from reconciler.plan.planfile import SavedPlan, write_plan  # noqa: PLC0415

    text = write_plan(SavedPlan(planned, inputs.cluster.path, tuple(file.path for file in inputs.slices)))
    try:
        write_file(out, text)
    except FileWriteError as error:
        raise PlanFileError(error.summary) from error


def find_saved(paths: Sequence[Path]) -> Path | None:
    """Return the saved plan among paths, or None; raises UsageError where it does not stand alone."""
    found = [path for path in paths if _is_saved(path)]
    if found and len(paths) > 1:
        raise UsageError(f"{found[0]} is a saved plan, which is applied alone", hint="name no other file with it")
    return found[0] if found else None


def _is_saved(path: Path) -> bool:
    from reconciler.plan.planfile import is_plan  # noqa: PLC0415

    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return is_plan(file.read(_BEGINNING).decode("utf-8", "replace"))
    except OSError:
        return False  # it is read once more as what it was given for, and told why it cannot be


def read_saved(path: Path) -> SavedPlan:
    """Read a saved plan; raises PlanFileError where it is damaged or of another format."""
    from reconciler.plan.planfile import read_plan  # noqa: PLC0415

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PlanFileError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PlanFileError(f"{path} is damaged: it is not UTF-8", hint="make the plan again") from error
    return read_plan(text, str(path))


def saved_inputs(session: Session, saved: SavedPlan, path: Path) -> Inputs:
    """Return the files that a saved plan was made from; raises PlanFileError for another version's, or one changed.

    Slices are read for the user-data in them alone: all else that they say stands in the plan.
    """
    from reconciler import __version__, workflow  # noqa: PLC0415

    if saved.plan.tool != __version__:
        raise PlanFileError(
            f"{path} was made by version {saved.plan.tool} of topology-reconciler, and this is {__version__}",
            hint="use that version, or make the plan again",
        )
    cluster = session.cluster_path()
    if _digest(path, saved.cluster, cluster) != saved.plan.inputs[saved.cluster]:
        _refuse(path, saved.cluster, cluster)
    others = [written for written in saved.plan.inputs if written != saved.cluster]
    for written in others:
        _digest(path, written, Path(written))
    try:
        inputs = workflow.load(cluster, [Path(written) for written in saved.slices])
    except SpecError as error:
        reason = error.found[0].summary
        raise PlanFileError(f"{path} was made from files that have changed since: {reason}", hint=_AGAIN) from error
    for written in others:
        if inputs.digests.get(written) != saved.plan.inputs[written]:
            _refuse(path, written, Path(written))
    return inputs


def _digest(path: Path, written: str, place: Path) -> str:
    from reconciler.spec.load import file_digest  # noqa: PLC0415
    from reconciler.trees import DISK  # noqa: PLC0415

    try:
        return file_digest(DISK, place)
    except SpecError as error:
        reason = error.found[0].summary
        raise PlanFileError(f"{path} was made from {written}, which cannot be read: {reason}", hint=_AGAIN) from error


def _refuse(path: Path, written: str, place: Path) -> NoReturn:
    if str(place) != written:
        raise PlanFileError(f"{path} was made from {written}, and {place} is not the same file", hint=_AGAIN)
    raise PlanFileError(f"{path} was made from {written}, which has changed since", hint=_AGAIN)
