"""The verbs about files alone: `init`, `validate` and `schema`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.options import Paths
from reconciler.cli.session import Session
from reconciler.errors import FileWriteError, Problem, SpecError, UsageError
from reconciler.files import SHARED, replacing
from reconciler.spec.check.images import placeholders
from reconciler.spec.load import load_unchecked_cluster
from reconciler.spec.quoting import shown
from reconciler.spec.schema import MODELS, schema_text
from reconciler.trees import DISK
from reconciler.views.files import schema_view, valid_view, written_view

_STARTERS = {"cluster.yaml": "cluster.yaml", "two-vms.yaml": "slices/two-vms.yaml"}
_NO_ID = 'id: "00000000"'
"""What stands for the id of a cluster in its starter."""

_SCHEMAS = {"cluster": "schemas/cluster.json", "slice": "schemas/slice.json"}
"""The files that the first lines of the starters name, for editors."""


def init(
    session: Session,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write.")] = Path(),
) -> None:
    """Write a cluster file, a first slice, and the JSON Schemas that editors use to complete and check them.

    Examples:
      reconciler init
      reconciler init my-lab
    """
    starters = resources.files("reconciler.cli").joinpath("starters")
    texts = {folder / target: starters.joinpath(name).read_text(encoding="utf-8") for name, target in _STARTERS.items()}
    texts[folder / "cluster.yaml"] = texts[folder / "cluster.yaml"].replace(_NO_ID, f'id: "{secrets.token_hex(4)}"')
    texts |= {folder / target: schema_text(kind) for kind, target in _SCHEMAS.items()}
    try:
        existing = [str(target) for target in texts if target.exists()]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{shown(str(folder))} cannot be written: {reason}", hint="choose another folder") from error
    if existing:
        raise UsageError(f"{', '.join(existing)}: already exists; nothing was written", hint="choose another folder")
    _write_all(texts)
    session.show(written_view([str(target) for target in texts]))


def _write_all(texts: Mapping[Path, str]) -> None:
    """Write all files beside their places first, then rename each, so that a file is complete or absent."""
    try:
        with ExitStack() as stack:
            for path, text in texts.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(replacing(path, mode=SHARED)).write_text(text, encoding="utf-8")
    except FileWriteError as error:
        raise UsageError(error.summary, hint="choose another folder") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="choose another folder") from error


def validate(session: Session, paths: Paths = None) -> None:
    """Report every problem in the files, including image checksums that were never filled in. Contacts no host.

    Examples:
      reconciler validate
      reconciler validate slices/two-vms.yaml
    """
    unfilled: list[Problem] = []
    with suppress(SpecError):  # which is reported below, with the other problems
        unfilled += placeholders(load_unchecked_cluster(DISK, session.cluster_path()))
    try:
        inputs = session.slice_inputs(paths or [])
    except SpecError as error:
        raise SpecError([*error.found, *unfilled]) from None
    if unfilled:
        raise SpecError(unfilled)
    session.show(valid_view(inputs.cluster.cluster.name, [file.slice.key for file in inputs.slices]))


def schema(
    session: Session,
    kind: Annotated[str, typer.Argument(metavar="slice|cluster", help="The kind of file.")],
) -> None:
    """Print the JSON Schema of slice or cluster files, for editors and other programs.

    Example:
      reconciler schema slice > schemas/slice.json
    """
    if kind not in MODELS:
        raise UsageError(f"there is no file of kind {kind!r}", hint=f"choose one of {', '.join(MODELS)}")
    session.show(schema_view(kind))
