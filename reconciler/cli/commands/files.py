"""Verbs about files alone: `init`, `validate` and `schema`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.session import Session
from reconciler.errors import FileWriteError, UsageError
from reconciler.files import SHARED, replacing
from reconciler.spec.quoting import escape, plural, shown

Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[PATH]...", help="Slice files, or folders of them. (default: the cluster file's folder)"),
]

_STARTERS = {"cluster.yaml": "cluster.yaml", "two-vms.yaml": "slices/two-vms.yaml"}
_SCHEMAS = {"cluster": "schemas/cluster.json", "slice": "schemas/slice.json"}
"""What the starters' first lines name, so that editors complete and check."""


def init(
    session: Session,
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to write to.")] = Path(),
) -> None:
    """Write a first cluster file, a first slice file, and JSON Schemas for editors.

    [bold]Examples[/bold]

      reconciler init
      reconciler init my-lab
    """
    from importlib import resources  # noqa: PLC0415

    from reconciler.spec.schema import schema_text  # noqa: PLC0415

    starters = resources.files("reconciler.cli").joinpath("starters")
    texts = {folder / target: starters.joinpath(name).read_text(encoding="utf-8") for name, target in _STARTERS.items()}
    texts |= {folder / target: schema_text(kind) for kind, target in _SCHEMAS.items()}
    try:
        existing = [str(target) for target in texts if target.exists()]
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{shown(str(folder))} cannot be written: {words}", hint="choose another folder") from error
    if existing:
        raise UsageError(f"{', '.join(existing)}: already there, and left alone", hint="choose another folder")
    _write_all(texts)
    written = [str(target) for target in texts]
    if session.json:
        session.print_json({"written": written})
        return
    sys.stdout.writelines(f"wrote {escape(str(path))}\n" for path in written)
    sys.stdout.write("Next: write your hosts into cluster.yaml, then `reconciler validate` and `reconciler plan`.\n")


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
    """Report every problem in the files. Contacts no host.

    [bold]Examples[/bold]

      reconciler validate
      reconciler validate slices/two-vms.yaml
    """
    inputs = session.slice_inputs(paths or [])
    names = [file.slice.key for file in inputs.slices]
    if session.json:
        session.print_json({"valid": True, "cluster": inputs.cluster.cluster.name, "slices": names})
        return
    counted = plural(len(names), "slice")
    sys.stdout.write(f"Valid: cluster {inputs.cluster.cluster.name}, {counted}: {', '.join(names)}.\n")


def schema(
    session: Session,
    kind: Annotated[str, typer.Argument(metavar="slice|cluster", help="Type of file.")],
) -> None:
    """Print the JSON Schema of slice files or cluster files, for editors and other programs.

    [bold]Example[/bold]

      reconciler schema slice > schemas/slice.json
    """
    from reconciler.spec.schema import MODELS, json_schema, schema_text  # noqa: PLC0415

    if kind not in MODELS:
        raise UsageError(f"there is no file of kind {kind!r}", hint=f"say one of {', '.join(MODELS)}")
    if session.json:
        session.print_json(json_schema(kind))
    else:
        sys.stdout.write(schema_text(kind))
