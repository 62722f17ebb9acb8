"""A slice of an owner is where the cluster file says, or it is an error at its owner."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.errors import Code
from reconciler.spec.check.files import check
from reconciler.spec.load import load_cluster, load_slices
from reconciler.trees import DISK

CLUSTER = (Path(__file__).parents[2] / "examples" / "cluster.yaml").read_text()
SLICE = "version: 1\nname: lab\nowner: alice\nvms: {a: {flavor: cirros}}\n"


def problems(folder: Path, paths: str, where: str) -> list[tuple[Code, str]]:
    users = f"users:\n  alice: {{paths: {paths}}}\n  bob: {{}}\n"
    (folder / "cluster.yaml").write_text(CLUSTER[: CLUSTER.index("users:")] + users)
    (folder / where).parent.mkdir(parents=True, exist_ok=True)
    (folder / where).write_text(SLICE)
    found = check(load_cluster(DISK, folder / "cluster.yaml"), load_slices(DISK, [folder / where]))
    assert all(one.location is not None and one.location.line == 3 for one in found)
    return [(one.code, one.summary) for one in found]


@pytest.mark.parametrize(
    ("paths", "where"),
    [
        ("['slices/alice/**']", "slices/alice/lab.yaml"),
        ("['slices/alice/**']", "slices/alice/term1/lab.yaml"),
        ("['slices/**/alice-*.yaml']", "slices/alice-lab.yaml"),
        ("['slices/**/alice-*.yaml']", "slices/term1/week2/alice-lab.yaml"),
        ("[a/**, 'slices/al?ce/*']", "slices/alice/lab.yaml"),
        ("[]", "anywhere/lab.yaml"),
    ],
)
def test_a_file_in_its_owners_folders_is_right(tmp_path: Path, paths: str, where: str) -> None:
    assert problems(tmp_path, paths, where) == []


@pytest.mark.parametrize(
    ("paths", "where"),
    [
        ("['slices/alice/**']", "slices/bob/lab.yaml"),
        ("['slices/alice/**']", "slices/alice2/lab.yaml"),
        ("['slices/alice/*']", "slices/alice/deep/lab.yaml"),
        ("['slices/a.ice/*']", "slices/alice/lab.yaml"),
    ],
)
def test_a_file_elsewhere_is_an_error(tmp_path: Path, paths: str, where: str) -> None:
    ((code, summary),) = problems(tmp_path, paths, where)
    assert (code, summary.startswith("slices of alice must be in ")) == (Code.OWNER, True), summary


def test_a_link_does_not_make_a_file_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "slices" / "alice").mkdir(parents=True)
    (tmp_path / "slices" / "bob").mkdir()
    (tmp_path / "slices" / "bob" / "lab.yaml").write_text(SLICE)
    (tmp_path / "slices" / "alice" / "lab.yaml").symlink_to("../bob/lab.yaml")
    users = "users:\n  alice: {paths: ['slices/alice/**']}\n"
    (tmp_path / "cluster.yaml").write_text(CLUSTER[: CLUSTER.index("users:")] + users)
    found = check(load_cluster(DISK, tmp_path / "cluster.yaml"), load_slices(DISK, [tmp_path / "slices"]))
    assert [one.code for one in found] == [Code.OWNER]


def test_a_way_back_out_of_the_folder_is_no_way_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(tmp_path, "['slices/alice/**']", "slices/bob/lab.yaml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slices" / "alice").mkdir()
    cluster = load_cluster(DISK, "cluster.yaml")
    found = check(cluster, load_slices(DISK, ["slices/alice/../bob/lab.yaml"]))
    assert [one.code for one in found] == [Code.OWNER]
