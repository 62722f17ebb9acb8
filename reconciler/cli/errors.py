"""How errors are told: what is wrong, where, the offending line, a hint and a code; on stderr, or as JSON on stdout."""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from typer import TyperException

from reconciler.errors import Code, Problem, ReconcilerError
from reconciler.spec.diagnostics import format_problem
from reconciler.spec.quoting import escape

_PASSWORD = re.compile(r"(://[^/\s:@]*:)\S*@")


def complain_early(error: ReconcilerError | TyperException, arguments: Sequence[str]) -> int:
    """Tell what went wrong before a verb began, and return the exit code; the arguments alone say how it is told.

    A group without a verb has shown its help, which is no error and leaves nothing to tell.
    """
    options = arguments[: list(arguments).index("--")] if "--" in arguments else arguments
    as_json = "--json" in options
    if isinstance(error, ReconcilerError):
        complain(error, as_json=as_json)
        return 1
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if not message:
        return 0
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "reconciler"
    _complain_usage(Problem(Code.USAGE, message, hint=f"{path} --help"), as_json=as_json)
    return 1


def complain(error: ReconcilerError, *, as_json: bool, verbose: bool = False) -> None:
    """Tell all that is wrong; `verbose` adds where in the program it was found."""
    problems = error.problems()
    if verbose:
        sys.stderr.write(_shown("".join(traceback.format_exception(error))))
    if as_json:
        _write_json(error.code, error.summary, problems)
        return
    sys.stderr.write("\n".join(format_problem(problem) + "\n" for problem in problems))
    if len(problems) > 1:
        sys.stderr.write(f"\n{len(problems)} problems.\n")


def _shown(text: str) -> str:
    """Take out of a traceback, which may quote any library, the passwords of URLs and what steers terminals."""
    hidden = _PASSWORD.sub(r"\1***@", text)
    return "\n".join(escape(line) for line in hidden.split("\n"))


def _complain_usage(problem: Problem, *, as_json: bool) -> None:
    """Tell what is wrong with the command line, in the form of every other error."""
    if as_json:
        _write_json(problem.code, problem.summary, (problem,))
    else:
        sys.stderr.write(format_problem(problem) + "\n")


def _write_json(code: Code, summary: str, problems: Sequence[Problem]) -> None:
    found = {"error": {"code": code, "summary": summary, "problems": [_data(item) for item in problems]}}
    sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _data(problem: Problem) -> dict[str, Any]:
    place = problem.location
    return {
        "code": problem.code,
        "summary": problem.summary,
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "hint": problem.hint,
    }
