"""Makes one lab for each process of a test run, and further labs for tests that break hosts; removes them all."""

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
from tests.conftest import Tell
from tests.lab.census import census, settled
from tests.lab.idle import idle_image, with_image
from tests.lab.site import Site
from tests.leftovers import remove_abandoned_labs

_numbers = count(1)


@pytest.fixture(scope="session")
def lab_allowed(warn: Tell) -> None:
    """Skip only on request, and never in CI: a lab that cannot run is a failure."""
    if os.environ.get("RECONCILER_SKIP_LAB") != "1":
        return
    if os.environ.get("CI") == "true":
        pytest.fail("RECONCILER_SKIP_LAB=1 is refused in CI: lab tests must run there", pytrace=False)
    warn("LAB TESTS WERE SKIPPED (RECONCILER_SKIP_LAB=1): nothing here shows that the reconciler works on hosts")
    pytest.skip("RECONCILER_SKIP_LAB=1")


@pytest.fixture(scope="session")
def lab(lab_allowed: None) -> Iterator[labs.LabInfo]:
    """Give the lab that all tests of this process share; each uses its own slices, VLANs and names."""
    # A terminated run tears its lab down like an interrupted one.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    remove_abandoned_labs()
    name = f"test-{os.getpid()}"
    try:
        yield _bring_up(name)
    finally:
        labs.down(name, report=print)


@pytest.fixture
def own_lab(lab_allowed: None) -> Iterator[Callable[..., labs.LabInfo]]:
    """Give a function that makes labs for this test only; it takes the number of workers."""
    with _own_labs() as make:
        yield make


@pytest.fixture(scope="module")
def module_lab(lab_allowed: None) -> Iterator[Callable[..., labs.LabInfo]]:
    """Give a function that makes labs for this module only; it takes the number of workers."""
    with _own_labs() as make:
        yield make


@pytest.fixture
def lab_name(lab_allowed: None) -> Iterator[str]:
    """Give the name of a lab that does not exist, and remove that lab afterwards."""
    name = f"test-{os.getpid()}-0"
    try:
        yield name
    finally:
        labs.down(name, report=print)


@pytest.fixture(scope="session")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an image without a system; see `tests/lab/idle.py`."""
    return idle_image(tmp_path_factory.mktemp("idle"))


@pytest.fixture
def site(request: pytest.FixtureRequest, lab: labs.LabInfo, idle: Path, tmp_path: Path) -> Iterator[Site]:
    """Give the shared lab with an empty state; slices that the test leaves are destroyed, and must then be gone."""
    with _clean_site(_site_for(request, lab, idle, tmp_path)) as clean:
        yield clean


@pytest.fixture(scope="module")
def module_site(
    request: pytest.FixtureRequest, lab: labs.LabInfo, idle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Give the shared lab with a state for this module, for slices that all of its tests use."""
    with _clean_site(_site_for(request, lab, idle, tmp_path_factory.mktemp("site"))) as clean:
        yield clean


@pytest.fixture
def own_site(
    request: pytest.FixtureRequest, own_lab: Callable[..., labs.LabInfo], idle: Path, tmp_path: Path
) -> Callable[..., Site]:
    """Give a function that makes labs with an empty state for this test only; it takes the number of workers."""

    def make(workers: int = 1) -> Site:
        return _site_for(request, own_lab(workers), idle, tmp_path)

    return make


def _site_for(request: pytest.FixtureRequest, lab: labs.LabInfo, idle: Path, folder: Path) -> Site:
    """Let guests boot only for tests that are marked so: under emulation a boot takes seconds of CPU time."""
    if request.node.get_closest_marker("guests") is not None:
        return Site(lab, folder, lab.cluster_file)
    return Site(lab, folder, with_image(lab.cluster_file, idle, folder / "idle-cluster.yaml"), guests=False)


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
def _clean_site(clean: Site) -> Iterator[Site]:
    before = census(clean.lab)
    yield clean
    if left := clean.slices():
        clean.destroy(*left)
    assert settled(clean.lab, before) == [], "all slices are destroyed, and the hosts are not as before"
