"""Runs one command: parses arguments, calls a verb, prints its view.

A verb's module is imported when the verb is called, so that help answers quickly.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from typer import Abort, TyperException

from reconciler import interpreter
from reconciler.cli.app import command
from reconciler.cli.settings import read_settings
from reconciler.errors import ReconcilerError

INTERRUPTED = 130
"""The exit code of a run that Ctrl-C ended."""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 error, 2 where a verb says so, 130 interrupted."""
    interpreter.set_up()
    try:
        verbs = command()
        code = verbs.main(
            list(arguments), prog_name="reconciler", standalone_mode=False, default_map=read_settings(verbs)
        )
    except (ReconcilerError, TyperException) as error:
        from reconciler.cli.errors import print_early  # noqa: PLC0415 - only if something is wrong

        return print_early(error, arguments)
    except (KeyboardInterrupt, Abort):
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    return code if isinstance(code, int) else 0
