"""Hold the pages that nothing else regenerates to the code: error codes, decisions, links between files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from reconciler.errors import Code

ROOT = Path(__file__).parents[2]
ERRORS = (ROOT / "docs/errors.md").read_text()
LINK = re.compile(r"\[[^]\n]*\]\((?!https?://|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")
PARTS = ("**Example.**", "**What to do.**")


def entries() -> dict[str, str]:
    """Return the text of each entry of docs/errors.md, by its code."""
    pieces = re.split(r"^### `([a-z-]+)`$", ERRORS, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def pages() -> list[Path]:
    """Return every page of the checkout that is in Git or about to be."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [Path(name) for name in sorted(set(names)) if (ROOT / name).is_file()]


def test_every_code_has_an_entry_in_the_order_of_the_enum() -> None:
    assert list(entries()) == [str(code) for code in Code]


@pytest.mark.parametrize("code", Code)
def test_entry_says_what_it_means_shows_it_and_says_what_to_do(code: Code) -> None:
    meaning, *_ = entries()[code].strip().split("\n\n")
    assert meaning.endswith(".")
    assert not meaning.startswith("**")
    for part in PARTS:
        assert entries()[code].count(part) == 1


def test_examples_with_a_place_are_what_the_program_prints() -> None:
    examples = [each for each in re.findall(r"^```\n(.*?)\n```$", ERRORS, re.DOTALL | re.MULTILINE) if " | " in each]
    printed = "\n\n".join(path.read_text() for path in sorted((ROOT / "tests/errors").rglob("*.txt")))
    assert examples
    for example in examples:
        assert example in printed


def test_decisions_are_numbered_without_gap_and_tell_what_was_rejected() -> None:
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        title, *headings = re.findall(r"^#+ .*$", path.read_text(), flags=re.MULTILINE)
        assert title.startswith("# ")
        assert headings == ["## Why", "## Rejected", "## Consequences"], path.name


@pytest.mark.parametrize("page", pages(), ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    text = (ROOT / page).read_text()
    missing = [link for link in LINK.findall(text) if not (ROOT / page.parent / link).exists()]
    assert not missing
