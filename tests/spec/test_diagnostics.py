from __future__ import annotations

from reconciler.errors import Code, Location, Problem
from reconciler.spec.diagnostics import MAX_WIDTH, format_problem
from reconciler.spec.quoting import MAX_SHOWN, did_you_mean, escape, shown


def problem(excerpt: str | None, column: int, *, line: int = 7) -> Problem:
    return Problem(Code.WRONG_VALUE, "it is wrong", Location("a.yaml", line, column), "fix it", excerpt)


def caret_under(text: str) -> str:
    """Return the text above the caret, to the end of the line."""
    lines = text.splitlines()
    return lines[1][lines[2].index("^") :]


def test_the_whole_form() -> None:
    assert format_problem(problem("name: Web", 7)) == (
        "a.yaml:7:7: error[wrong-value]: it is wrong\n  7 | name: Web\n    |       ^\nhint: fix it"
    )


def test_without_a_position_or_a_hint() -> None:
    assert format_problem(Problem(Code.LIMIT, "too much")) == "error[limit]: too much"
    assert format_problem(problem(None, 1)) == "a.yaml:7:1: error[wrong-value]: it is wrong\nhint: fix it"


def test_large_line_numbers_keep_the_bars_aligned() -> None:
    lines = format_problem(problem("name: Web", 7, line=123456)).splitlines()
    assert lines[1].index("|") == lines[2].index("|")


def test_tabs_take_their_width() -> None:
    assert caret_under(format_problem(problem("\ta:\tWeb", 5))) == "Web"


def test_wide_characters_take_two_columns() -> None:
    lines = format_problem(problem("東京: Web", 5)).splitlines()
    assert lines[2] == "    | " + " " * 6 + "^"


def test_no_control_character_reaches_the_terminal() -> None:
    nasty = "\x1b[2J\x07\x9b\u202e"
    text = format_problem(Problem(Code.LIMIT, nasty, Location(nasty, 1, len(nasty) + 1), nasty, f"{nasty}Web"))
    assert text.replace("\n", "").isprintable()
    assert caret_under(text) == "Web"


def test_long_lines_are_cut_around_the_caret() -> None:
    for column in (1, 50, 99, 150, 1000, 1950, 2000):
        line = "." * (column - 1) + "X" + "." * (2000 - column)
        text = format_problem(problem(line, column))
        assert caret_under(text).startswith("X")
        assert max(map(len, text.splitlines())) <= MAX_WIDTH + 6


def test_text_of_users_is_escaped_and_cut() -> None:
    assert shown("a\nb\x00\x1b") == "'a\\nb\\x00\\x1b'"
    assert shown("x" * 10**6) == "'" + "x" * (MAX_SHOWN - 3) + "...'"
    assert len(shown("\x00" * 10**6)) <= MAX_SHOWN + 2
    assert escape("plain é 東") == "plain é 東"


def test_did_you_mean() -> None:
    assert did_you_mean("flavour", ["flavor", "image"]) == "did you mean `flavor`?"
    assert did_you_mean("zzz", ["b", "a"]) == "known here: a, b"
    assert did_you_mean("zzz", []) is None
    hint = did_you_mean("zzz", [f"vm{index}" for index in range(1000)])
    assert hint is not None
    assert hint.endswith("and 988 more")
