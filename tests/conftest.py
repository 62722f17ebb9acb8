"""Gives all tests golden files, an order, figures and warnings at the end, and a check that they leave nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests import effort, leftovers

Golden = Callable[[Path, str], None]
Tell = Callable[[str], None]

FIGURES: Final = pytest.StashKey[list[str]]()
WARNINGS: Final = pytest.StashKey[list[str]]()
PIDS: Final = pytest.StashKey[list[int]]()
RUN: Final = pytest.StashKey[leftovers.Run]()
LEFT: Final = pytest.StashKey[list[str]]()


effort.register_profiles()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what the code prints now into golden files")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []
    config.stash[WARNINGS] = []
    config.stash[PIDS] = [os.getpid()]
    if _is_main(config):
        config.stash[RUN] = leftovers.begin()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes long first, so that no worker waits for the other at the end; files stay in one piece."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    names = ("slow", "lab")
    return next((rank for rank, name in enumerate(names) if item.get_closest_marker(name)), len(names))


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
    """Skip tests that need a PostgreSQL server on request, and never in CI."""
    if os.environ.get("RECONCILER_SKIP_POSTGRES") == "1" and os.environ.get("CI") != "true":
        pytest.skip("RECONCILER_SKIP_POSTGRES is set")


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Tell:
    """Print a figure at the end of the run: how much work a test did."""
    return pytestconfig.stash[FIGURES].append


@pytest.fixture(scope="session")
def warn(pytestconfig: pytest.Config) -> Tell:
    """Print a warning at the end of the run: what was not tested."""
    return pytestconfig.stash[WARNINGS].append


@pytest.hookimpl(trylast=True)  # after all fixtures are torn down and all workers have ended
def pytest_sessionfinish(session: pytest.Session) -> None:
    stash = session.config.stash
    if not _is_main(session.config):
        output: dict[str, Any] = session.config.workeroutput  # type: ignore[attr-defined]  # pytest-xdist adds it
        output |= {"figures": stash[FIGURES], "warnings": stash[WARNINGS], "pid": os.getpid()}
        return
    pids: list[int] = stash[PIDS]
    stash[LEFT] = leftovers.end(stash[RUN], pids)
    if stash[LEFT]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Clean up after a run that was interrupted, whose workers may have been killed."""
    if RUN in config.stash and LEFT not in config.stash:
        leftovers.end(config.stash[RUN], ())
        leftovers.remove_abandoned_labs()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker of pytest-xdist has to report."""
    output, stash = getattr(node, "workeroutput", {}), node.config.stash
    stash[FIGURES].extend(output.get("figures", ()))
    stash[WARNINGS].extend(output.get("warnings", ()))
    if "pid" in output:
        stash[PIDS].append(output["pid"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    stash = terminalreporter.config.stash
    figures: list[str] = stash[FIGURES]
    warnings: list[str] = stash[WARNINGS]
    if figures:
        terminalreporter.section("figures")
        for line in sorted(figures):
            terminalreporter.line(line)
    for warning in sorted(set(warnings)):
        terminalreporter.section(f"WARNING: {warning}", red=True, bold=True)
    if left := stash.get(LEFT, None):
        terminalreporter.section("FAILED: the run left these behind", red=True, bold=True)
        for line in left:
            terminalreporter.line(line)


def _is_main(config: pytest.Config) -> bool:
    """Return whether this is the process that was started, not a worker of pytest-xdist."""
    return not hasattr(config, "workerinput")
