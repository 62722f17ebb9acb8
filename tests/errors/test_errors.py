"""Compares the errors of each wrong file with the text next to it; `pytest --update-golden` writes these texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.errors import Problem, SpecError
from reconciler.spec.check.files import check
from reconciler.spec.diagnostics import format_problem
from reconciler.spec.load import PartialFile, load_cluster, load_slices, read_slices
from reconciler.spec.yaml import events
from reconciler.trees import DISK

Golden = Callable[[Path, str], None]
HERE = Path(__file__).parent
RIGHT_CLUSTER = Path("clusters/right.yaml")
SLICES = sorted(path.relative_to(HERE) for path in (HERE / "slices").iterdir() if path.suffix != ".txt")
CLUSTERS = sorted(path.relative_to(HERE) for path in (HERE / "clusters").glob("cluster-*.yaml"))


def problems_in(cluster: Path, slices: list[Path]) -> tuple[Problem, ...]:
    try:
        return check(load_cluster(DISK, cluster), load_slices(DISK, slices))
    except SpecError as error:
        return error.problems()


def written(problems: tuple[Problem, ...]) -> str:
    return "\n\n".join(map(format_problem, problems)) + "\n"


@pytest.fixture(autouse=True, params=[True, False], ids=["libyaml", "pure"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every case with and without libyaml, from this folder, so that file names are short."""
    assert events.HAS_LIBYAML
    monkeypatch.setattr(events, "HAS_LIBYAML", request.param)
    monkeypatch.chdir(HERE)


@pytest.mark.parametrize("path", SLICES, ids=lambda path: path.stem)
def test_wrong_slice(path: Path, golden: Golden) -> None:
    found = problems_in(RIGHT_CLUSTER, [path])
    assert found
    golden(HERE / path.with_suffix(".txt"), written(found))


@pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.stem)
def test_wrong_cluster(path: Path, golden: Golden) -> None:
    found = problems_in(path, [])
    assert found
    golden(HERE / path.with_suffix(".txt"), written(found))


def test_the_right_cluster_has_no_problem() -> None:
    assert problems_in(RIGHT_CLUSTER, []) == ()


def test_every_golden_text_has_its_file() -> None:
    texts = {path.relative_to(HERE).with_suffix("") for path in HERE.rglob("*.txt")}
    assert texts == {path.with_suffix("") for path in SLICES + CLUSTERS}


@pytest.mark.parametrize("path", SLICES, ids=lambda path: path.stem)
def test_the_valid_parts_of_a_wrong_slice_can_be_checked(path: Path) -> None:
    partial: list[PartialFile] = []
    files, problems = read_slices(DISK, [path], partial=partial)
    found = check(load_cluster(DISK, RIGHT_CLUSTER), files, partial)
    assert problems or found
    assert len(set(found)) == len(found)
