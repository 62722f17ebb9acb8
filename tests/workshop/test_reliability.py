"""Hold the table of faults to the tests that it names: every row has some, and each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/reliability.md"
ROWS = {
    int(cells[1]): cells
    for line in PAGE.read_text().splitlines()
    if (cells := [cell.strip() for cell in line.split("|")])[1:2] and cells[1].isdecimal()
}
SHOWN = re.compile(r"\[(test_\w+)\]\(([^)]+)\)")


def test_the_table_has_its_first_thirty_rows_and_an_order() -> None:
    assert list(ROWS)[:30] == list(range(1, 31))
    assert list(ROWS) == sorted(ROWS)


@pytest.mark.parametrize("number", ROWS)
def test_a_row_names_tests_that_are_there(number: int) -> None:
    shown = SHOWN.findall(ROWS[number][4])
    assert shown, "no test shows it"
    for name, path in shown:
        assert f"def {name}(" in (PAGE.parent / path).read_text(), f"{name} is not in {path}"
