"""How errors are told: what is wrong, where, the offending line, a hint and a code; on stderr, or as JSON on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from typer import TyperException

from reconciler.errors import Problem, ReconcilerError
from reconciler.spec.diagnostics import format_problem


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether `--json` was asked for; errors in the arguments themselves leave no other way to know."""
    options = arguments[: list(arguments).index("--")] if "--" in arguments else arguments
    return "--json" in options


def complain(error: ReconcilerError, *, as_json: bool) -> None:
    """Tell all that is wrong."""
    problems = error.problems()
    if as_json:
        found = {
            "error": {"code": error.code, "summary": error.summary, "problems": [_data(item) for item in problems]}
        }
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return
    sys.stderr.write("\n".join(format_problem(problem) + "\n" for problem in problems))
    if len(problems) > 1:
        sys.stderr.write(f"\n{len(problems)} problems.\n")


def complain_usage(error: TyperException) -> None:
    """Tell what is wrong with the command line, in the same form."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "reconciler"
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    sys.stderr.write(f"error[usage]: {message}\nhint: {path} --help\n")


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
