"""Says aloud where fuzzing led by coverage cannot run: atheris has no build for that Python or machine."""

from __future__ import annotations

import importlib.util
import os

import pytest

_lacking: list[str] = []


@pytest.fixture
def atheris() -> None:
    """Ask for atheris; where it is not, that is a failure in CI and stands at the end of any other run."""
    if importlib.util.find_spec("atheris") is not None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail("atheris is missing: CI runs on Linux, x86-64, with a Python that it has a build for")
    _lacking.append("atheris")
    pytest.skip("atheris has no build for this Python")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _lacking:
        terminalreporter.section("WARNING: FUZZING LED BY COVERAGE DID NOT RUN (no atheris here)", red=True, bold=True)
