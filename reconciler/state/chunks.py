"""Splits keys into portions that one query can name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

CHUNK: Final = 500
"""How many keys one query names; both databases limit the parameters of a query."""


def chunks(keys: Iterable[str]) -> Iterator[Sequence[str]]:
    """Yield keys in portions, each key once and in order."""
    ordered = sorted(set(keys))
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]
