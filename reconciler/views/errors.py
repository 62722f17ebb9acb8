"""Formats errors as text and as JSON: each problem with its code, place and hint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Final

from reconciler.errors import Code, Problem
from reconciler.spec.diagnostics import format_problem
from reconciler.spec.quoting import escape, plural

FOLDED: Final = 4
"""From how many equal problems on only the first is shown whole."""

_FILES: Final = 5
"""How many files the rest of equal problems names at most."""

_NAMED: Final = re.compile(r"\b(vms|groups)\.[^\s.\[\]]+|\b(links)\[\d+\]")


def problems_text(problems: Sequence[Problem]) -> str:
    """Return all problems, and how many there are; of many equal ones, the first with the places of the others."""
    groups: dict[tuple[Code, str, str | None], list[Problem]] = {}
    for problem in problems:
        kind = _NAMED.sub(r"\1\2.*", problem.summary)
        groups.setdefault((problem.code, kind, problem.hint), []).append(problem)
    text = "\n".join(map(_group_text, groups.values()))
    return f"{text}\n{plural(len(problems), 'problem')}.\n" if len(problems) > 1 else text


def _group_text(group: Sequence[Problem]) -> str:
    first, rest = group[0], group[1:]
    if len(group) < FOLDED or any(problem.location is None for problem in group):
        return "\n".join(f"{format_problem(problem)}\n" for problem in group)
    return f"{format_problem(first)}\nand {len(rest)} more like this: {_places(rest)}\n"


def _places(problems: Iterable[Problem]) -> str:
    """Return files with their lines: `slices/web.yaml lines 7-9, 12`."""
    lines: dict[str, list[int]] = {}
    for problem in problems:
        if problem.location is not None:
            lines.setdefault(problem.location.file, []).append(problem.location.line)
    named = [f"{escape(file)} {_lines(found)}" for file, found in list(lines.items())[:_FILES]]
    more = [f"{plural(len(lines) - _FILES, 'file')} more"] if len(lines) > _FILES else []
    return "; ".join([*named, *more])


def _lines(found: Iterable[int]) -> str:
    """Write lines as ranges: `line 7`, `lines 7-9, 12`."""
    ordered = sorted(set(found))
    ranges: list[list[int]] = []
    for line in ordered:
        if ranges and line == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], line]
        else:
            ranges.append([line])
    return ("line " if len(ordered) == 1 else "lines ") + ", ".join("-".join(map(str, pair)) for pair in ranges)


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
