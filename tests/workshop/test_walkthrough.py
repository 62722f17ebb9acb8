"""Checks the Python blocks of docs/walkthrough.md; a test on the lab also runs its commands."""

from __future__ import annotations

import re
from pathlib import Path

from tests.lab.docs.pages import neutral, rerun

ROOT = Path(__file__).parents[2]
CONSOLE = re.compile(r"^```console\n.*?^```$", re.MULTILINE | re.DOTALL)


def test_python_blocks_print_what_the_page_shows() -> None:
    page = CONSOLE.sub("", (ROOT / "docs/walkthrough.md").read_text(encoding="utf-8"))
    assert page.count("```pycon") > 5
    assert neutral(rerun(page, ROOT, {})) == neutral(page)
