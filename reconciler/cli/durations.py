"""Defines the options that take a duration."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.spec.models.durations import parse_duration


def duration(text: str) -> float:
    """Return a duration in seconds; raises typer.BadParameter."""
    try:
        return parse_duration(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


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
