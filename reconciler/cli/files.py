"""Verbs about files alone: `init` and `validate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.session import Session
from reconciler.errors import UsageError

Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[PATH]...", help="Slice files, or folders of them. (default: the cluster file's folder)"),
]

_STARTERS = {"cluster.yaml": "cluster.yaml", "two-vms.yaml": "slices/two-vms.yaml"}


def init(
    session: Session,
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write.")] = Path(),
) -> None:
    """Write a cluster file and a first slice to start from.

    [bold]Examples[/bold]

      reconciler init
      reconciler init my-lab
    """
    from importlib import resources  # noqa: PLC0415

    targets = {starter: folder / target for starter, target in _STARTERS.items()}
    if existing := [str(target) for target in targets.values() if target.exists()]:
        raise UsageError(f"{', '.join(existing)}: already there, and left alone", hint="choose another folder")
    for starter, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(resources.files("reconciler.cli").joinpath("starters", starter).read_text(encoding="utf-8"))
    written = [str(target) for target in targets.values()]
    if session.json:
        session.print_json({"written": written})
        return
    sys.stdout.writelines(f"wrote {path}\n" for path in written)
    sys.stdout.write("Next: write your hosts into cluster.yaml, then `reconciler validate` and `reconciler plan`.\n")


def validate(session: Session, paths: Paths = None) -> None:
    """Find every problem in the files; contacts no host.

    [bold]Examples[/bold]

      reconciler validate
      reconciler validate slices/two-vms.yaml
    """
    inputs = session.slice_inputs(paths or [])
    names = [file.slice.key for file in inputs.slices]
    if session.json:
        session.print_json({"valid": True, "cluster": inputs.cluster.cluster.name, "slices": names})
        return
    noun = "slice" if len(names) == 1 else "slices"
    sys.stdout.write(f"Valid: cluster {inputs.cluster.cluster.name}, {len(names)} {noun}: {', '.join(names)}.\n")
