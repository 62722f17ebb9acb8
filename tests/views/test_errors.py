"""Many equal problems are one, with the places of the others; JSON has them all."""

from __future__ import annotations

import json

from reconciler.errors import Code, Location, Problem
from reconciler.views.errors import error_json, problems_text


def unknown(vm: str, line: int, file: str = "web.yaml", key: str = "ram") -> Problem:
    place = Location(file, line, 9)
    summary = f"unknown key '{key}' in vms.{vm}"
    return Problem(Code.UNKNOWN_KEY, summary, place, "did you mean `memory`?", f"  {vm}: {{{key}: 1}}")


def test_thirty_equal_problems_are_one_with_the_lines_of_the_others() -> None:
    problems = [unknown(f"web{number}", 5 + number + (number > 9)) for number in range(30)]
    assert problems_text(problems) == (
        "web.yaml:5:9: error[unknown-key]: unknown key 'ram' in vms.web0\n"
        "  5 |   web0: {ram: 1}\n"
        "    |         ^\n"
        "hint: did you mean `memory`?\n"
        "and 29 more like this: web.yaml lines 6-14, 16-35\n"
        "\n30 problems.\n"
    )
    assert len(json.loads(error_json(Code.UNKNOWN_KEY, "it", problems))["error"]["problems"]) == 30


def test_a_few_and_different_ones_are_shown_whole() -> None:
    problems = [unknown("a", 1), unknown("b", 2), unknown("c", 3), unknown("d", 4, key="cpu")]
    text = problems_text(problems)
    assert text.count("error[") == 4
    assert "more like this" not in text


def test_places_in_many_files_are_named_by_file() -> None:
    problems = [unknown("a", 7, file=f"s{number}.yaml") for number in range(8)]
    assert "and 7 more like this: s1.yaml line 7; s2.yaml line 7; " in problems_text(problems)
    assert problems_text(problems).splitlines()[-3].endswith("; 2 files more")
