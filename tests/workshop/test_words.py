"""The code and the documentation use the words of the glossary, and none of the words that it retires."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from tests.workshop.test_rules import ROOT, Finding, Source, sources

GLOSSARY = Path("docs/glossary.md")
JSON_KEYS = {"recorded", "fate", "moments", "scenes", "rehearsal", "proved"}
ALLOWED = [
    ("docs/schemas/*.json", JSON_KEYS, "programs read these keys"),
    ("reconciler/views/documents.py", JSON_KEYS, "the models of those keys"),
    (
        "reconciler/views/*.py",
        {"recorded=", "fate=", "moments=", "scenes=", '"rehearsal"', "proved="},
        "the same",
    ),
    ("reconciler/state/*.py", {'"recorded"', "c.recorded", "row.recorded"}, "a column of the database"),
    ("reconciler/state/export.py", {"recorded:"}, "a key of the export file"),
    ("reconciler/errors.py", {'"rehearsal"'}, "programs read this error code"),
    ("docs/errors.md", {"`rehearsal`", "[rehearsal]"}, "programs read this error code"),
    ("docs/reliability.md", {"`rehearsal`"}, "the same, and a key of JSON output"),
]
"""Public names that are kept: in which files, the texts that are not searched, and why."""


@cache
def retired() -> tuple[str, ...]:
    """Return the retired words and phrases: the texts in backticks on the left of the glossary's last table."""
    rows = (ROOT / GLOSSARY).read_text().partition("## Retired words")[2].splitlines()
    cells = [row.split("|")[1] for row in rows if row.startswith("| `")]
    return tuple(word for cell in cells for word in re.findall(r"`([^`]+)`", cell))


@cache
def pattern() -> re.Pattern[str]:
    """Match a retired word in any case, with its plural, in prose or as a part of a name."""
    words = "|".join(re.escape(word).replace(r"\ ", r"[\s_]+") for word in retired())
    # An underscore and a capital letter end a word of a name, so \b is not enough.
    return re.compile(rf"(?<![A-Za-z])({words})s?(?![a-z])", re.IGNORECASE)


def retired_words(source: Source) -> Iterator[Finding]:
    """Find retired words in a text, except in public names."""
    kept = [text for glob, texts, _ in ALLOWED if fnmatch(str(source.path), glob) for text in texts]
    for number, line in enumerate(source.text.splitlines(), 1):
        for text in kept:
            line = re.sub(re.escape(text), "", line, flags=re.IGNORECASE)  # noqa: PLW2901 - what is left of it
        for found in pattern().finditer(line):
            yield number, found[0]


@pytest.mark.parametrize(
    "text",
    ["Writes it to the record.", "class Logbook:", "def sweep_all():", "Look at\tit.", "two stages", "self._trial = 1"],
)
def test_a_retired_word_is_found(text: str) -> None:
    assert list(retired_words(Source(Path("reconciler/example.py"), text)))


@pytest.mark.parametrize("text", ["apply --rehearse", "trialling", "a cardinal number", "RECONCILER_REHEARSE=1"])
def test_other_words_are_not_found(text: str) -> None:
    assert not list(retired_words(Source(Path("reconciler/example.py"), text)))


def test_public_names_are_kept_only_where_they_are_public() -> None:
    assert not list(retired_words(Source(Path("docs/schemas/gc.json"), '"fate": {"title": "Fate"}')))
    assert list(retired_words(Source(Path("reconciler/workflow/gc.py"), '"fate": 1')))


def test_no_retired_word_is_used() -> None:
    covered = [one for one in sources() if one.path.parts[0] in {"reconciler", "docs"} and one.path != GLOSSARY]
    assert len(retired()) > 40
    assert len(covered) > 100
    found = [f"{source.path}:{line}: {word}" for source in covered for line, word in retired_words(source)]
    assert not found, "\n" + "\n".join(found)
