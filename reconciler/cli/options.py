"""Defines the arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.spec.models.durations import parse_duration

PARALLELISM = 10
"""How many hosts are worked on at the same time, by default."""


def duration(text: str) -> float:
    """Return a duration in seconds; raises typer.BadParameter."""
    try:
        return parse_duration(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH", help="Slice files, folders of them, or names of slices. (default: --slice-folder)"),
]
Slices = Annotated[
    list[str] | None,
    typer.Argument(metavar="SLICE", help="Slices, as owner/name, name or file. (default: all)"),
]
AutoApprove = Annotated[
    bool, typer.Option("--auto-approve", envvar="RECONCILER_AUTO_APPROVE", help="Do not ask before changing anything.")
]
Parallelism = Annotated[
    int,
    typer.Option(
        "--parallelism",
        metavar="N",
        min=1,
        envvar="RECONCILER_PARALLELISM",
        help="How many hosts to work on at the same time.",
    ),
]
Replace = Annotated[
    list[str] | None,
    typer.Option(
        "--replace",
        metavar="ADDRESS",
        envvar="RECONCILER_REPLACE",
        help="Create a resource again although nothing differs, such as vm/admin/two-vms/web.",
    ),
]
Prune = Annotated[
    bool,
    typer.Option(
        "--prune", envvar="RECONCILER_PRUNE", help="Also destroy slices of the state that no file in the folders has."
    ),
]
AllowDestroy = Annotated[
    bool,
    typer.Option(
        "--allow-destroy",
        envvar="RECONCILER_ALLOW_DESTROY",
        help="Let --prune destroy more than 3 slices even if these are more than a third of all.",
    ),
]
MaxParallel = Annotated[
    int, typer.Option("--max-parallel", metavar="N", min=1, help="How many VMs to move at the same time.")
]
LockTimeout = Annotated[
    float,
    typer.Option(
        "--lock-timeout",
        metavar="DURATION",
        parser=duration,
        show_default="0: do not wait",
        envvar="RECONCILER_LOCK_TIMEOUT",
        help="How long to wait for slices that another apply holds, such as 30s or 2m; takes over if the holder's "
        "lease expires.",
    ),
]

OnHost = Annotated[
    str | None,
    typer.Option("--host", metavar="HOST", envvar="RECONCILER_HOST", help="Only what is on this host."),
]
