"""The mutations of `make mutants` change what code does, one detail at a time."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.workshop.mutants import PACKAGES, ROOT, mutant, sample, sites

CODE = '''\
"""A docstring stays."""


def first(items: list[int], limit: int = 3) -> int | None:
    if len(items) > limit and items[0] != 0:
        items.sort()
        return items[0] + limit
    raise ValueError(f"{len(items) + 1} is too few")
'''


def test_every_mutant_differs_in_one_detail() -> None:
    found = [mutant(Path("example.py"), CODE, number) for number in sites(ast.parse(CODE))]
    assert [one.what for one in found] == [
        "if len(items) > limit and items[0] != 0:  ->  if not (len(items) > limit and items[0] != 0):",
        "3  ->  4",
        "len(items) > limit and items[0] != 0  ->  len(items) > limit or items[0] != 0",
        "items.sort()  ->  None",
        "return items[0] + limit  ->  return None",
        "len(items) > limit  ->  len(items) >= limit",
        "items[0] != 0  ->  items[0] == 0",
        "items[0] + limit  ->  items[0] - limit",
        "0  ->  1",
        "0  ->  1",
        "0  ->  1",
    ]
    assert len({one.text for one in found}) == len(found)
    for one in found:
        compile(one.text, "example.py", "exec")


def test_a_sample_is_the_same_each_time() -> None:
    first = sample(ROOT, PACKAGES[:1], 5, seed=3)
    assert len(first) == 5
    assert first == sample(ROOT, PACKAGES[:1], 5, seed=3)
    assert first != sample(ROOT, PACKAGES[:1], 5, seed=4)
