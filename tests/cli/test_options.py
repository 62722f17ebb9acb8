"""Where an option's value comes from: a flag, before or after the verb, then the environment, then reconciler.toml."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

import pytest

from tests.cli.running import Cli, Write

MISSING = "no such file or folder"


def cluster_of(cli: Cli, *arguments: str) -> str:
    """Return which cluster file a run asked for, where none of them exists."""
    done = cli(*arguments)
    assert done.code == 1
    assert MISSING in done.err
    return Path(done.err.partition(":")[0]).name


def test_a_flag_wins_over_the_environment_over_the_file(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no cluster file" in cli("plan").err
    write("reconciler.toml", 'cluster = "all.yaml"\n')
    assert cluster_of(cli, "plan") == "all.yaml"
    write("reconciler.toml", 'cluster = "all.yaml"\n[plan]\ncluster = "planned.yaml"\n')
    assert cluster_of(cli, "plan") == "planned.yaml"
    assert cluster_of(cli, "validate") == "all.yaml"
    monkeypatch.setenv("RECONCILER_CLUSTER", "environment.yaml")
    assert cluster_of(cli, "plan") == "environment.yaml"
    assert cluster_of(cli, "--cluster", "before.yaml", "plan") == "before.yaml"
    assert cluster_of(cli, "plan", "--cluster", "after.yaml") == "after.yaml"
    assert cluster_of(cli, "--cluster", "before.yaml", "plan", "--cluster", "after.yaml") == "after.yaml"


def test_the_default_cluster_file_is_found_in_a_parent_folder(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "slices")
    assert cli("validate").out == "Valid: cluster campus, 1 slice: admin/two-vms.\n"


def test_paths_in_the_file_start_where_it_stands(
    cli: Cli, project: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "cluster.yaml").rename(project / "campus.yaml")
    write("reconciler.toml", 'cluster = "campus.yaml"\n')
    monkeypatch.chdir(project / "slices")
    assert cli("validate").code == 0


def test_state_comes_from_flag_environment_file_default(
    cli: Cli, project: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def used() -> set[str]:
        found = {path.name for path in project.glob("*.db")}
        for path in project.glob("*.db*"):
            rmtree(path) if path.is_dir() else path.unlink()
        return found

    apply = ("apply", "--auto-approve", "slices")
    assert cli(*apply).code == 1  # there is no key to log in with
    assert (used(), any((project.parent / "home").rglob("*.db"))) == (set(), True)
    write("reconciler.toml", 'state = "file.db"\n')
    cli(*apply)
    assert used() == {"file.db"}
    monkeypatch.setenv("RECONCILER_STATE", "environment.db")
    cli(*apply)
    assert used() == {"environment.db"}
    cli("--state", "before.db", *apply)
    assert used() == {"before.db"}
    cli(*apply, "--state", "after.db")
    assert used() == {"after.db"}


@pytest.mark.usefixtures("project")
def test_parallelism_comes_from_flag_environment_file_default(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*more: str) -> bool:
        done = cli("apply", "--auto-approve", "slices", *more)
        assert done.code == 1
        return "greater than or equal to 1" in done.err

    assert not refused()
    write("reconciler.toml", "[apply]\nparallelism = 0\n")
    assert refused()
    monkeypatch.setenv("RECONCILER_PARALLELISM", "3")
    assert not refused()
    assert refused("--parallelism", "0")
    monkeypatch.setenv("RECONCILER_PARALLELISM", "0")
    assert refused()
    assert not refused("--parallelism", "1")


@pytest.mark.usefixtures("project")
def test_auto_approve_comes_from_flag_environment_file_default(
    cli: Cli, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def approved(*more: str) -> bool:
        done = cli("apply", "slices", *more)
        assert ("Apply incomplete" in done.out) != ("there is no terminal to ask on" in done.err)
        return "Apply incomplete" in done.out

    assert not approved()
    write("reconciler.toml", "[apply]\nauto_approve = true\n")
    assert approved()
    write("reconciler.toml", "[apply]\nauto-approve = true\n")
    assert approved()
    monkeypatch.setenv("RECONCILER_AUTO_APPROVE", "0")
    assert not approved()
    assert approved("--auto-approve")
    (Path.cwd() / "reconciler.toml").unlink()
    monkeypatch.setenv("RECONCILER_AUTO_APPROVE", "1")
    assert approved()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("arguments", [("--json", "validate"), ("validate", "--json")], ids=" ".join)
def test_json_may_stand_before_and_after_the_verb(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments).data == {
        "format_version": 1,
        "valid": True,
        "cluster": "campus",
        "slices": ["admin/two-vms"],
    }


@pytest.mark.usefixtures("project")
def test_json_comes_from_the_environment(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_JSON", "1")
    assert cli("validate").data["valid"] is True
    assert cli("validate", "nowhere.yaml").data["error"]["problems"][0]["file"] == "nowhere.yaml"


def test_settings_that_are_no_toml_are_refused(cli: Cli, write: Write) -> None:
    write("reconciler.toml", "cluster: all.yaml\n")
    done = cli("plan")
    assert (done.code, done.out) == (1, "")
    assert "error[file-unreadable]" in done.err
    assert "reconciler.toml" in done.err


@pytest.mark.usefixtures("folder")
def test_verbose_tells_where_an_error_was_found(cli: Cli) -> None:
    quiet, verbose = cli("validate"), cli("-v", "validate")
    assert verbose.err.endswith(quiet.err)
    assert verbose.err.startswith("Traceback (most recent call last):\n")
    assert "Traceback" not in quiet.err
