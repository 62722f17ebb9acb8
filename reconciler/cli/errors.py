"""Prints errors: what is wrong, where, the line of the file, a hint and a code; on stderr, or as JSON on stdout."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Sequence

from typer import TyperException

from reconciler.cli.global_options import GlobalOptions
from reconciler.errors import Code, Problem, ReconcilerError
from reconciler.spec.quoting import escape
from reconciler.views.errors import error_json, problems_text

_PASSWORD = re.compile(r"(://[^/\s:@]*:)\S*@")


def print_early(error: ReconcilerError | TyperException, arguments: Sequence[str]) -> int:
    """Print an error that came before a verb was called, and return the exit code.

    Options are not parsed yet, so the arguments say whether to print JSON.
    """
    options = arguments[: list(arguments).index("--")] if "--" in arguments else arguments
    as_json = "--json" in options
    if isinstance(error, ReconcilerError):
        print_error(GlobalOptions(json=as_json), error)
        return 1
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "reconciler"
    problem = Problem(Code.USAGE, message, hint=f"{path} --help")
    _write(problem.code, problem.summary, (problem,), as_json=as_json)
    return 1


def print_error(options: GlobalOptions, error: ReconcilerError) -> None:
    """Print all problems of an error; --verbose adds the traceback."""
    if options.verbose:
        sys.stderr.write(_redacted("".join(traceback.format_exception(error))))
    _write(error.code, error.summary, error.problems(), as_json=options.json)


def _redacted(text: str) -> str:
    """Remove passwords of URLs and control characters from a traceback, which may quote any library."""
    hidden = _PASSWORD.sub(r"\1***@", text)
    return "\n".join(escape(line) for line in hidden.split("\n"))


def _write(code: Code, summary: str, problems: Sequence[Problem], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(error_json(code, summary, problems))
    else:
        sys.stderr.write(problems_text(problems))
