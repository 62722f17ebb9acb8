"""`--prune`: what no file describes goes, and a folder that is not whole takes nothing with it.

No host can be reached here, so nothing of a recorded slice ever stands.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.running import Cli, Done, Write

Record = Callable[[int], None]
"""Records so many slices: lab1, lab2, and on."""

FEW = 3


@pytest.fixture
def record(project: Path, cli: Cli, write: Write) -> Record:
    """Give a way to record slices, each with a file of its own below slices/."""
    (project / "slices/two-vms.yaml").unlink()
    write("cluster.yaml", (project / "cluster.yaml").read_text().replace("slices: 10", "slices: 20"))

    def make(count: int) -> None:
        for number in range(1, count + 1):
            head = f"version: 1\nname: lab{number}\nowner: admin\n"
            write(f"slices/lab{number}.yaml", f"{head}defaults: {{flavor: cirros}}\nvms: {{a: {{}}}}\n")
        assert "Apply incomplete" in cli("apply", "--auto-approve", "--no-refresh").out
        assert len(cli("status", "--json").data) == count

    return make


def lose_files(folder: Path, count: int) -> None:
    """Delete the files of the first slices."""
    for number in range(1, count + 1):
        (folder / f"slices/lab{number}.yaml").unlink()


def doomed(done: Done) -> set[str]:
    """Return the slices that a plan takes away: in its scope, and given nothing."""
    return set(done.data["slices"]) - set(done.data["allocations"])


def test_what_no_file_describes_is_planned_to_go(project: Path, cli: Cli, record: Record) -> None:
    record(4)
    assert doomed(cli("plan", "--prune", "--json")) == set()
    lose_files(project, 2)
    assert doomed(cli("plan", "--json")) == set(), "nothing goes unasked"
    assert doomed(cli("plan", "--prune", "--json")) == {"admin/lab1", "admin/lab2"}
    assert doomed(cli("plan", "--prune", "--json", "slices")) == {"admin/lab1", "admin/lab2"}


@pytest.mark.parametrize("saved", [False, True], ids=["at once", "saved first"])
def test_an_apply_takes_them_out_of_the_record(project: Path, cli: Cli, record: Record, saved: bool) -> None:
    record(3)
    lose_files(project, 1)
    assert cli("plan", "--prune", "-o", "x.plan").code == 0
    assert cli("show", "x.plan", "--json").data["slices"] == ["admin/lab1", "admin/lab2", "admin/lab3"]
    done = cli("apply", "--auto-approve", *(["x.plan"] if saved else ["--prune"]))
    assert (done.code, "Apply incomplete" in done.out) == (1, True)
    assert [view["slice"] for view in cli("status", "--json").data] == ["admin/lab2", "admin/lab3"]


@pytest.mark.parametrize("verb", [["plan"], ["apply", "--auto-approve"]], ids=["plan", "apply"])
def test_a_prune_of_many_is_refused_with_their_names(project: Path, cli: Cli, record: Record, verb: list[str]) -> None:
    record(6)
    lose_files(project, FEW + 1)
    before = cli("history", "--json").data
    done = cli(*verb, "--prune")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error[plan]: a prune would destroy 4 of 6 slices: admin/lab1, admin/lab2, admin/lab3, admin/lab4\n"
        "hint: check that the folder is complete; to destroy all of them, add --allow-destroy\n"
    )
    assert cli("history", "--json").data == before
    allowed = cli("plan", "--prune", "--allow-destroy", "--json")
    assert doomed(allowed) == {f"admin/lab{number}" for number in range(1, FEW + 2)}


@pytest.mark.parametrize(("recorded", "lost", "code"), [(4, FEW, 0), (10, FEW + 1, 1), (12, FEW + 1, 0)])
def test_how_many_are_many(project: Path, cli: Cli, record: Record, recorded: int, lost: int, code: int) -> None:
    record(recorded)
    lose_files(project, lost)
    assert cli("plan", "--prune").code == code


@pytest.mark.parametrize("options", [[], ["--allow-destroy"]], ids=["as it is", "--allow-destroy"])
def test_an_empty_or_missing_folder_destroys_nothing(
    project: Path, cli: Cli, record: Record, options: list[str]
) -> None:
    record(2)
    lose_files(project, 2)
    errors = {"": "error[usage]: ", "slices": "error[usage]: ", "nowhere": "nowhere:1:1: error[file-unreadable]: "}
    for folder, error in errors.items():
        done = cli("apply", "--prune", "--auto-approve", *options, *filter(None, [folder]))
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(error)
    assert len(cli("history", "--json").data) == 1


def test_a_prune_goes_by_folders(cli: Cli, record: Record) -> None:
    record(2)
    for paths in (["slices/lab1.yaml"], ["slices", "slices/lab1.yaml"]):
        done = cli("plan", "--prune", *paths)
        assert (done.code, done.out) == (1, "")
        assert done.err == (
            "error[usage]: --prune needs whole folders, and slices/lab1.yaml is a file\n"
            "hint: name the folder of all slices\n"
        )


def test_a_saved_plan_prunes_nothing_more(cli: Cli, record: Record) -> None:
    record(2)
    cli("plan", "-o", "x.plan")
    done = cli("apply", "--auto-approve", "--prune", "x.plan")
    assert (done.code, done.out) == (1, "")
    assert done.err == "error[usage]: x.plan is a saved plan, which is applied as it is\nhint: leave out --prune\n"


def test_a_prune_sees_slice_files_outside_the_slice_folder(project: Path, cli: Cli, record: Record) -> None:
    record(2)
    (project / "other").mkdir()
    (project / "slices/lab1.yaml").rename(project / "other/lab1.yaml")
    assert doomed(cli("plan", "--prune", "--json")) == set()
    assert doomed(cli("plan", "--prune", "--json", "slices")) == {"admin/lab1"}
