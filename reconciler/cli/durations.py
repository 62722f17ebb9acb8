"""Lengths of time as options take them: `30s`, `2m`, `1h`, or plain seconds; what they bound is the verbs' part."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.state.locks.ttl import read_duration


def duration(text: str) -> float:
    """Read a length of time, in seconds; raises typer.BadParameter for what is none."""
    try:
        return read_duration(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


LockTimeout = Annotated[
    float,
    typer.Option(
        "--lock-timeout",
        metavar="DURATION",
        parser=duration,
        show_default="0: not at all",
        envvar="RECONCILER_LOCK_TIMEOUT",
        help="How long to wait for slices that another apply holds, such as 30s or 2m; a holder that gives no sign of "
        "life meanwhile is taken over from.",
    ),
]
