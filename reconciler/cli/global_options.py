"""Defines the options that every verb has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

GLOBAL_PANEL = "Global options"
Cluster = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        metavar="FILE",
        envvar="RECONCILER_CLUSTER",
        help="The cluster file. (default: cluster.yaml here or in a parent folder)",
        rich_help_panel=GLOBAL_PANEL,
    ),
]
State = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="PATH|URL",
        envvar="RECONCILER_STATE",
        help="Where the state is: a file, or a PostgreSQL URL. (default: one file per cluster)",
        rich_help_panel=GLOBAL_PANEL,
    ),
]
SliceFolder = Annotated[
    Path | None,
    typer.Option(
        "--slice-folder",
        metavar="DIR",
        envvar="RECONCILER_SLICE_FOLDER",
        help="The slice files to read where none are named. (default: slices, beside the cluster file)",
        rich_help_panel=GLOBAL_PANEL,
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", envvar="RECONCILER_JSON", help="Print JSON.", rich_help_panel=GLOBAL_PANEL),
]
NoColor = Annotated[
    bool,
    typer.Option(
        "--no-color", envvar="RECONCILER_NO_COLOR", help="Print without colour.", rich_help_panel=GLOBAL_PANEL
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        envvar="RECONCILER_VERBOSE",
        help="Also report connections, starts of steps, and where errors were raised.",
        rich_help_panel=GLOBAL_PANEL,
    ),
]


@dataclass(slots=True)
class GlobalOptions:
    """The global options of one run of the command line."""

    cluster: Path | None = None
    state: str | None = None
    slice_folder: Path | None = None
    json: bool = False
    no_color: bool = False
    verbose: bool = False


GLOBALS: tuple[tuple[str, Any, Any], ...] = (
    ("cluster", Cluster, None),
    ("state", State, None),
    ("slice_folder", SliceFolder, None),
    ("json", Json, False),
    ("no_color", NoColor, False),
    ("verbose", Verbose, False),
)
"""The name, annotation and default of each."""
