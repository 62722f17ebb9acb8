"""Every command that the documentation shows is run, and prints what the page says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.lab.docs.pages import neutral, rerun
from tests.lab.site import Site

pytestmark = [pytest.mark.lab, pytest.mark.guests]

ROOT = Path(__file__).parents[3]
PAGES = ("README.md", "docs/walkthrough.md")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_prints_what_it_shows(name: str, site: Site, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    page = (ROOT / name).read_text(encoding="utf-8")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "COLUMNS": "120",
        "RECONCILER_LAB_DIR": str(site.cluster.parent.parent),
        "RECONCILER_CLUSTER": str(site.cluster),
        "RECONCILER_STATE": str(tmp_path / "record.db"),
        "LAB": site.lab.name,
    }
    now = rerun(page, ROOT, environment)
    assert "Traceback" not in now, now
    if pytestconfig.getoption("--update-golden"):
        (ROOT / name).write_text(now, encoding="utf-8")
        page = now
    assert neutral(now) == neutral(page)
