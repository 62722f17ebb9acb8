"""Saved plans where no host can be logged in to: written, shown, performed, and each reason to refuse one."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler import __version__
from reconciler.plan.planfile import read_plan, write_plan
from tests.cli.running import Cli, Done, answering

FILE = "two-vms.yaml.plan"
SLICE = "slices/two-vms.yaml"
AGAIN = "hint: make the plan again, and review what has changed\n"


@pytest.fixture
def saved(project: Path, cli: Cli) -> Path:
    """Save a plan of the slice that `init` writes."""
    assert cli("plan", "-o", FILE).code == 0
    return project / FILE


def begin(cli: Cli, *arguments: str) -> Done:
    """Apply without a question; no host is reached, so it fails there, but it has begun."""
    done = cli("apply", "--auto-approve", *arguments)
    assert done.code == 1
    return done


def check_refused(cli: Cli, error: str, *arguments: str) -> None:
    """See that applying the saved plan is refused in these words alone, and that nothing was recorded."""
    before = cli("history", "--json").data
    done = begin(cli, FILE, *arguments)
    assert (done.out, done.err) == ("", error)
    assert cli("history", "--json").data == before


def test_a_saved_plan_is_private_and_shown_as_it_was(saved: Path, cli: Cli) -> None:
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    again = cli("plan", "--out", FILE, SLICE)
    shown = cli("show", FILE)
    assert again.out == f"{shown.out}Saved: `reconciler apply {FILE}` performs exactly this plan.\n"
    assert shown.out.endswith("Plan: 19 to add, 0 to change, 0 to replace, 0 to destroy.\n")
    assert cli("show", FILE, "--json").out == cli("plan", "--json", "-o", FILE).out
    assert [path.name for path in saved.parent.iterdir() if path.name.startswith(".")] == []


def test_a_saved_plan_is_begun_as_it_is_and_then_no_longer_true(saved: Path, cli: Cli) -> None:
    planned = cli("show", FILE).out
    done = begin(cli, FILE)
    assert done.out.startswith(planned)
    assert "Apply incomplete" in done.out
    (shown,) = cli("status", "--json").data
    assert (shown["slice"], shown["id"]) == ("admin/two-vms", 1000)
    check_refused(
        cli,
        "error[state-moved]: the plan was made from another state (its lineage is empty, this state's is "
        f"{read_lineage(cli)})\nhint: plan again with this state\n",
    )
    assert saved.exists()


def read_lineage(cli: Cli) -> str:
    lineage: str = cli("plan", "--json").data["lineage"]
    return lineage


@pytest.mark.usefixtures("saved")
def test_a_plan_is_refused_once_its_slice_has_changed(cli: Cli) -> None:
    begin(cli)
    cli("plan", "-o", FILE)
    begin(cli)
    check_refused(
        cli,
        "error[state-moved]: admin/two-vms has changed since the plan was made\n"
        "hint: plan again, and review what has changed\n",
    )


@pytest.mark.usefixtures("saved")
def test_a_plan_of_another_record_is_refused(cli: Cli, project: Path) -> None:
    begin(cli, "--state", "other.db")
    cli("plan", "-o", FILE, "--state", "other.db")
    begin(cli)
    done = begin(cli, FILE)
    assert done.out == ""
    assert done.err.startswith("error[state-moved]: the plan was made from another state (its lineage is ")
    assert (project / "other.db").exists()


@pytest.mark.parametrize("name", [SLICE, "cluster.yaml"])
def test_a_file_that_has_changed_is_named(saved: Path, cli: Cli, name: str) -> None:
    path = saved.parent / name
    path.write_text(path.read_text() + "# a word\n")
    shown = path if name == "cluster.yaml" else name  # the cluster file was found, not given
    check_refused(cli, f"error[plan-file]: {FILE} was made from {shown}, which has changed since\n{AGAIN}")


def test_a_file_that_is_gone_is_named(saved: Path, cli: Cli) -> None:
    (saved.parent / SLICE).unlink()
    words = f"{FILE} was made from {SLICE}, which cannot be read: no such file or folder"
    check_refused(cli, f"error[plan-file]: {words}\n{AGAIN}")


def test_another_cluster_file_is_refused(saved: Path, cli: Cli) -> None:
    text = (saved.parent / "cluster.yaml").read_text()
    (saved.parent / "other.yaml").write_text(text + "# another\n")
    words = f"{FILE} was made from {saved.parent / 'cluster.yaml'}, and other.yaml is not the same file"
    check_refused(cli, f"error[plan-file]: {words}\n{AGAIN}", "--cluster", "other.yaml")


def test_a_newer_format_is_refused(saved: Path, cli: Cli) -> None:
    saved.write_text(saved.read_text().replace('"reconciler_plan": 3', '"reconciler_plan": 4', 1))
    check_refused(
        cli,
        f"error[plan-file]: {FILE} was saved by another version (its format is 4, this version reads 3)\n"
        "hint: use the version of topology-reconciler that saved it, or make the plan again\n",
    )


def test_another_version_is_refused(saved: Path, cli: Cli) -> None:
    made = read_plan(saved.read_text(), FILE)
    saved.write_text(write_plan(replace(made, plan=replace(made.plan, tool="0.0.9"))))
    check_refused(
        cli,
        f"error[plan-file]: {FILE} was made by version 0.0.9 of topology-reconciler; this is version {__version__}\n"
        "hint: use that version, or make the plan again\n",
    )


HARM = {
    "is damaged: it is not valid JSON, or is truncated": lambda text: text[: len(text) // 2],
    "is damaged: its digest does not match its content": lambda text: text.replace(b'"worker1"', b'"worker2"', 1),
    "is damaged: not valid UTF-8": lambda text: text.replace(b"two-vms", b"two-\xff\xfes", 1),
}


@pytest.mark.parametrize("verb", [["apply", "--auto-approve"], ["show"]], ids=["apply", "show"])
@pytest.mark.parametrize("words", HARM)
def test_a_damaged_plan_is_refused(saved: Path, cli: Cli, verb: list[str], words: str) -> None:
    saved.write_bytes(HARM[words](saved.read_bytes()))
    done = cli(*verb, FILE)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error[plan-file]: {FILE} {words}\nhint: make the plan again")
    assert cli("status", "--json").data == []


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize("more", [[SLICE], ["--replace", "vm/admin/two-vms/web"]], ids=["a slice", "--replace"])
def test_a_saved_plan_is_applied_alone(cli: Cli, more: list[str]) -> None:
    done = begin(cli, FILE, *more)
    assert done.out == ""
    assert done.err.startswith(f"error[usage]: {FILE} is a saved plan, ")


@pytest.mark.parametrize("out", [SLICE, "./cluster.yaml"])
def test_no_plan_is_written_over_what_it_is_made_from(project: Path, cli: Cli, out: str) -> None:
    before = (project / out).read_text()
    done = cli("plan", "-o", out)
    assert (done.code, done.out) == (1, "")
    assert "is an input file of the plan" in done.err
    assert (project / out).read_text() == before


@pytest.mark.usefixtures("project")
def test_a_plan_that_cannot_be_written_is_an_error(cli: Cli) -> None:
    done = cli("plan", "-o", "nowhere/x.plan")
    assert done.code == 1
    assert done.err == "error[plan-file]: nowhere/x.plan cannot be written: No such file or directory\n"


def test_a_saved_plan_is_asked_about_and_may_be_declined(saved: Path, cli: Cli) -> None:
    with answering(b"n\n"):
        done = cli("apply", FILE)
    assert (done.code, done.out) == (1, cli("show", FILE).out)
    assert done.err == "Do this? [y/N]: Nothing was changed.\n"
    assert cli("status", "--json").data == []
    assert saved.exists()


@pytest.mark.usefixtures("saved")
def test_without_a_terminal_a_saved_plan_is_not_done_unapproved(cli: Cli) -> None:
    done = cli("apply", FILE)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error[usage]: there is no terminal to ask on, so nothing was changed\n")
