"""One lab for the whole run, and labs of their own for tests that break hosts; none outlives the run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from reconciler import lab as labs
from reconciler.errors import LabError
from reconciler.lab.folder import locate
from tests.lab.census import census, settled
from tests.lab.site import Site

_skipped: list[str] = []
_numbers = count(1)


@pytest.fixture(scope="session")
def lab_allowed() -> None:
    """Skip only on request, and never in CI: a lab that cannot run is a failure."""
    if os.environ.get("RECONCILER_SKIP_LAB") != "1":
        return
    if os.environ.get("CI") == "true":
        pytest.fail("RECONCILER_SKIP_LAB=1 is refused in CI: lab tests must run there", pytrace=False)
    _skipped.append("lab")
    pytest.skip("RECONCILER_SKIP_LAB=1")


@pytest.fixture(scope="session")
def lab(lab_allowed: None) -> Iterator[labs.LabInfo]:
    """Give the lab that all tests share; each uses slices, VLANs and names of its own in it."""
    # A terminated run tears its lab down like an interrupted one.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _sweep()
    name = f"test-{os.getpid()}"
    try:
        yield _bring_up(name)
    finally:
        labs.down(name, report=print)


@pytest.fixture
def own_lab(lab_allowed: None) -> Iterator[Callable[..., labs.LabInfo]]:
    """Give a maker of labs that only this test uses; the maker takes the number of workers."""
    with _own_labs() as make:
        yield make


@pytest.fixture(scope="module")
def module_lab(lab_allowed: None) -> Iterator[Callable[..., labs.LabInfo]]:
    """Give a maker of labs that only this module uses; the maker takes the number of workers."""
    with _own_labs() as make:
        yield make


@pytest.fixture
def lab_name(lab_allowed: None) -> Iterator[str]:
    """Give the name of a lab that is not there, and see that it is not there afterwards."""
    name = f"test-{os.getpid()}-0"
    try:
        yield name
    finally:
        labs.down(name, report=print)


@pytest.fixture
def site(lab: labs.LabInfo, tmp_path: Path) -> Iterator[Site]:
    """Give the shared lab with a fresh record; what the test leaves there is destroyed, and must then be gone."""
    with _clean_site(lab, tmp_path) as clean:
        yield clean


@pytest.fixture(scope="module")
def module_site(lab: labs.LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give the shared lab with a record of this module's own, for slices that all of its tests look at."""
    with _clean_site(lab, tmp_path_factory.mktemp("site")) as clean:
        yield clean


@pytest.fixture
def own_site(own_lab: Callable[..., labs.LabInfo], tmp_path: Path) -> Callable[..., Site]:
    """Give a maker of labs with a record that only this test uses; the maker takes the number of workers."""

    def make(workers: int = 1) -> Site:
        made = own_lab(workers)
        return Site(made, tmp_path, made.cluster_file)

    return make


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped:
        terminalreporter.section("WARNING: LAB TESTS WERE SKIPPED (RECONCILER_SKIP_LAB=1)", red=True, bold=True)
        terminalreporter.line("Nothing in this run shows that the reconciler works on hosts.")


def _bring_up(name: str, workers: int = 3) -> labs.LabInfo:
    try:
        return labs.up(name, workers, report=print)
    except LabError as error:
        pytest.fail(f"the lab cannot run: {error.summary}. {error.hint or ''}", pytrace=False)


@contextmanager
def _own_labs() -> Iterator[Callable[..., labs.LabInfo]]:
    made: list[str] = []

    def make(workers: int = 1) -> labs.LabInfo:
        made.append(f"test-{os.getpid()}-{next(_numbers)}")
        return _bring_up(made[-1], workers)

    try:
        yield make
    finally:
        for name in made:
            labs.down(name, report=print)


@contextmanager
def _clean_site(lab: labs.LabInfo, folder: Path) -> Iterator[Site]:
    before = census(lab)
    clean = Site(lab, folder, lab.cluster_file)
    yield clean
    if left := clean.recorded():
        clean.destroy(*left)
    assert settled(lab, before) == [], "all slices are destroyed, and the hosts are not as before"


def _sweep() -> None:
    """Remove the labs of test runs that were killed before they could."""
    for folder in locate("test").path.parent.glob("test-*"):
        run = folder.name.split("-")[1]
        if folder.is_dir() and run.isdigit() and not Path("/proc", run).exists():
            labs.down(folder.name, report=print)
