"""What all tests share: golden files, rewritten by `pytest --update-golden`, and figures that are told at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

Golden = Callable[[Path, str], None]
Tell = Callable[[str], None]

_told: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what the code prints now into golden files")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare a text with a golden file; with --update-golden, write it there instead."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path.name} is missing: run pytest --update-golden, and read what it writes"
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture(scope="session")
def postgres_allowed() -> None:
    """Skip what needs a PostgreSQL server only on request, and never in CI."""
    if os.environ.get("RECONCILER_SKIP_POSTGRES") == "1" and os.environ.get("CI") != "true":
        pytest.skip("RECONCILER_SKIP_POSTGRES is set")


@pytest.fixture
def tell() -> Tell:
    """Have a figure printed at the end of the run: how much a test did that counts its own work."""
    return _told.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _told:
        terminalreporter.section("figures")
        for line in _told:
            terminalreporter.line(line)
