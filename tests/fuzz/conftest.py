"""Reports loudly if coverage-guided fuzzing cannot run, because atheris has no build for this Python or machine."""

from __future__ import annotations

import importlib.util
import os

import pytest

_missing: list[str] = []


@pytest.fixture
def atheris() -> None:
    """Require atheris; if it is missing, CI fails, and any other run reports it at its end."""
    if importlib.util.find_spec("atheris") is not None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail("atheris is missing: CI runs on Linux, x86-64, with a Python that it has a build for")
    _missing.append("atheris")
    pytest.skip("atheris has no build for this Python")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _missing:
        terminalreporter.section("WARNING: COVERAGE-GUIDED FUZZING DID NOT RUN (no atheris)", red=True, bold=True)
