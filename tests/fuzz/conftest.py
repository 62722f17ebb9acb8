"""Reports where coverage-guided fuzzing cannot run: atheris has no build for that Python or machine."""

from __future__ import annotations

import importlib.util
import os

import pytest

from tests.conftest import Tell


@pytest.fixture
def atheris(warn: Tell) -> None:
    """Require atheris; where it is missing, the test fails in CI, and any other run ends with a warning."""
    if importlib.util.find_spec("atheris") is not None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail("atheris is missing: CI runs on Linux, x86-64, with a Python that it has a build for")
    warn("COVERAGE-GUIDED FUZZING DID NOT RUN (atheris is missing)")
    pytest.skip("atheris has no build for this Python")
