"""The command line: answers a shell that completes a word, or runs a command and exits."""

from __future__ import annotations

import os
import sys

from reconciler import interpreter
from reconciler.cli import completion
from reconciler.cli.streams import Streams


def main() -> None:
    """Run the command line and exit."""
    if completion.is_asked(os.environ):
        completion.answer(os.environ)
        return
    from reconciler.cli.program import run  # noqa: PLC0415 - Typer: a shell that completes a word does not wait for it

    streams = Streams()
    code = streams.end(run(sys.argv[1:]))
    interpreter.leave()
    sys.exit(code)
