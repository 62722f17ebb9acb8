"""Formats errors as text and as JSON: each problem with its code, place and hint."""

from __future__ import annotations

import json
from collections.abc import Sequence

from reconciler.errors import Code, Problem
from reconciler.spec.diagnostics import format_problem
from reconciler.spec.quoting import plural


def problems_text(problems: Sequence[Problem]) -> str:
    """Return all problems, and how many there are if there are several."""
    text = "\n".join(format_problem(problem) + "\n" for problem in problems)
    return f"{text}\n{plural(len(problems), 'problem')}.\n" if len(problems) > 1 else text


def error_json(code: Code, summary: str, problems: Sequence[Problem]) -> str:
    """Return an error as an ErrorDocument; written without pydantic, so that a wrong option is reported at once."""
    detail = {"code": code, "summary": summary, "problems": [_problem(problem) for problem in problems]}
    return json.dumps({"format_version": 1, "error": detail}, indent=2, ensure_ascii=False) + "\n"


def _problem(problem: Problem) -> dict[str, object]:
    place = problem.location
    return {
        "code": problem.code,
        "summary": problem.summary,
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "hint": problem.hint,
    }
