"""The verb `preview` on real repositories: what a merge changes, in every form, and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from reconciler import trees
from tests.cli.applied import put_applied
from tests.cli.running import Cli, Write
from tests.conftest import Golden

HERE = Path(__file__).parent
RING = """\
version: 1
name: ring
owner: admin
defaults: {flavor: cirros}
vms: {a: {}, b: {}}
links: [[a, b]]
"""
STUDENT = """\
version: 1
name: student%d
owner: admin
defaults: {flavor: cirros}
vms: {a: {}}
"""


def git(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment |= {f"GIT_{who}_DATE": "2026-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")}
    argv = ["git", "-c", "init.defaultBranch=main", *arguments]
    return subprocess.run(argv, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Change")


@pytest.fixture
def repository(project: Path) -> Path:
    """Put the project into a repository, on main and on a branch `feature` that is checked out."""
    git(project, "init", "--quiet")
    commit(project)
    git(project, "checkout", "--quiet", "-b", "feature")
    return project


def edit(folder: Path, old: str, new: str, path: str = "slices/two-vms.yaml") -> None:
    file = folder / path
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def plain(text: str) -> str:
    """Leave out what differs from run to run: commits and digests."""
    return re.sub(r"\b[0-9a-f]{12}\b", "0123456789ab", text)


def test_a_branch_is_shown_as_one_comment(repository: Path, write: Write, cli: Cli, golden: Golden) -> None:
    put_applied(repository, "slices/two-vms.yaml")
    write("slices/ring.yaml", RING)
    edit(repository, "  web: {internet: true}\n", "  web: {internet: true, memory: 512MiB}\n")
    commit(repository)
    done = cli("preview", "--base", "main")
    assert done.code == 0, done.err
    golden(HERE / "preview-branch.md", plain(done.out))
    golden(HERE / "preview-branch.txt", plain(cli("preview", "--base", "main", "--format", "text").out))
    assert cli("preview", "--base", "main", "--detailed-exitcode").code == 2


def test_nothing_is_checked_out_locked_or_written(repository: Path, write: Write, cli: Cli) -> None:
    put_applied(repository, "slices/two-vms.yaml")
    write("slices/ring.yaml", RING)
    commit(repository)
    git(repository, "checkout", "--quiet", "main")
    write("slices/broken.yaml", "is in no revision: [")
    before = listing(repository.parent)
    assert cli("preview", "--base", "main", "--head", "feature").code == 0
    assert listing(repository.parent) == before


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the sizes and times of all files, but for what SQLite keeps beside a database that is read."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def test_only_what_the_branch_changes_is_shown(repository: Path, write: Write, cli: Cli) -> None:
    edit(repository, "vms:\n", "vms:\n  extra: {}\n")
    commit(repository)
    git(repository, "checkout", "--quiet", "main")
    write("slices/ring.yaml", RING)
    commit(repository)
    done = cli("preview", "--base", "main", "--head", "feature", "--json")
    assert done.code == 0, done.err
    assert [one["slice"] for one in done.data["slices"] if one["slice"]] == ["admin/two-vms"]
    assert done.data["unchanged"] == ["admin/ring"]
    assert done.data["pending"] == 33
    assert {one["address"] for one in done.data["plan"]["resource_changes"] if one["slice"]} == {
        "disk/admin/two-vms/extra",
        "port/admin/two-vms/extra:eth0",
        "vm/admin/two-vms/extra",
    }


def test_a_change_of_the_base_is_not_undone(repository: Path, write: Write, cli: Cli) -> None:
    write("slices/ring.yaml", RING)
    commit(repository)
    git(repository, "checkout", "--quiet", "main")
    edit(repository, "vms:\n", "vms:\n  extra: {}\n")
    commit(repository)
    found = cli("preview", "--base", "main", "--head", "feature", "--json").data
    assert [one["slice"] for one in found["slices"] if one["slice"]] == ["admin/ring"]
    assert found["removed"] == []


def test_a_file_that_both_have_changed_is_a_problem(repository: Path, cli: Cli) -> None:
    edit(repository, "  web: {internet: true}\n", "  web: {internet: true, memory: 512MiB}\n")
    commit(repository)
    git(repository, "checkout", "--quiet", "main")
    edit(repository, "  web: {internet: true}\n", "  web: {internet: true, memory: 1GiB}\n")
    commit(repository)
    objects = listing(repository / ".git" / "objects")
    done = cli("preview", "--base", "main", "--head", "feature", "--json")
    assert done.code == 1
    (problem,) = done.data["problems"]
    assert (problem["file"], problem["new"]) == ("slices/two-vms.yaml", True)
    assert problem["summary"] == "feature and main have both changed this file: it cannot be merged"
    assert (done.data["ok"], done.data["changed"], done.data["plan"]) == (False, False, None)
    assert listing(repository / ".git" / "objects") == objects


def test_a_removed_file_is_shown_as_what_a_prune_destroys(repository: Path, cli: Cli, golden: Golden) -> None:
    put_applied(repository, "slices/two-vms.yaml")
    (repository / "slices" / "two-vms.yaml").unlink()
    commit(repository)
    done = cli("preview", "--base", "main")
    assert done.code == 0, done.err
    golden(HERE / "preview-removed.md", plain(done.out))


def test_an_invalid_file_is_reported_and_the_others_are_planned(
    repository: Path, write: Write, cli: Cli, golden: Golden
) -> None:
    write("slices/ring.yaml", RING)
    edit(repository, "flavor: cirros", "flavour: cirros")
    commit(repository)
    done = cli("preview", "--base", "main", "--output", "out")
    assert done.code == 1
    golden(HERE / "preview-invalid.md", plain(done.out))
    sarif = json.loads((repository / "out" / "preview.sarif").read_text())
    (run,) = sarif["runs"]
    assert run["automationDetails"]["id"] == "reconciler/validate/"
    (result,) = run["results"]
    assert result["ruleId"] == "unknown-key"
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "slices/two-vms.yaml"
    quality = json.loads((repository / "out" / "codequality.json").read_text())
    assert quality[0]["location"] == {"path": "slices/two-vms.yaml", "lines": {"begin": place["region"]["startLine"]}}


def test_a_problem_of_the_base_is_not_the_branch_s(repository: Path, write: Write, cli: Cli) -> None:
    git(repository, "checkout", "--quiet", "main")
    write("slices/bad.yaml", "version: 1\nname: bad\nowner: nobody\nvms: {a: {flavor: cirros}}\n")
    commit(repository)
    git(repository, "checkout", "--quiet", "-B", "feature")
    write("slices/ring.yaml", RING)
    commit(repository)
    done = cli("preview", "--base", "main", "--json")
    assert done.code == 0
    assert [problem["new"] for problem in done.data["problems"]] == [False]
    assert done.data["notes"][0] == "1 problem that main has already."


def test_alike_changes_are_grouped(repository: Path, write: Write, cli: Cli) -> None:
    for number in range(8):
        write(f"slices/{number}.yaml", STUDENT % number)
    edit(repository, "vms:\n", "vms:\n  extra: {}\n")
    commit(repository)
    text = cli("preview", "--base", "main").out
    assert "8 x the same 3 changes, as in admin/student0" in text
    assert "- 8 slices have the same 3 changes; 1 differs.\n" in text
    assert "Also: `admin/student1`, " in text
    assert text.count("```diff") == 3, "what slices share, the eight, and the one that differs"


def test_a_long_comment_is_cut_between_parts_and_the_rest_is_a_file(repository: Path, write: Write, cli: Cli) -> None:
    edit(repository, "vms: 50", "vms: 5000", "cluster.yaml")
    edit(repository, "vcpus: 64", "vcpus: 5000", "cluster.yaml")
    edit(repository, "memory: 128GiB", "memory: 5TiB", "cluster.yaml")
    for number in range(9):
        vms = ", ".join(f"{'v' * (number + 10)}{index}: {{}}" for index in range(60 + number))
        write(f"slices/{number}.yaml", STUDENT.replace("{a: {}}", f"{{{vms}}}") % number)
    commit(repository)
    done = cli("preview", "--base", "main", "--output", "out")
    assert done.code == 0, done.err
    rest = (repository / "out" / "preview-rest.md").read_text()
    for text in (done.out, rest):
        assert text.count("<details>") == text.count("</details>") > 0
        assert text.count("```") % 2 == 0
    assert len(done.out) < 60_000
    assert "of this preview did not fit here" in done.out
    assert (repository / "out" / "preview.md").read_text() == done.out


@pytest.mark.parametrize("branch", ["a`b", "a@b", "a<b>", "a|b", "a#1", "a--><img"])
def test_names_from_a_branch_stay_text(repository: Path, write: Write, cli: Cli, branch: str) -> None:
    evil = "@everyone <img src=x> `` ``` <!-- reconciler:preview cluster=other --> [a](http://b)"
    write(f"slices/{'`' * 4} <b>.yaml", f"version: 1\nname: x\nowner: admin\n{json.dumps(evil)}: 1\n")
    commit(repository)
    git(repository, "branch", branch)
    text = cli("preview", "--base", "main", "--head", branch).out
    outside = re.sub(r"(?ms)^(`{3,})text\n.*?^\1$", "", text)
    assert "everyone" in text
    assert "everyone" not in outside
    outside = re.sub(r"(`+) ?[^\n]*?[^`]\1(?!`)", "", outside)
    for piece in ("<img", "<b>", "@", "|b", "http:"):
        assert piece not in outside, piece
    assert text.startswith("<!-- reconciler:preview cluster=campus -->\n")


def test_a_limit_that_the_merge_exceeds_is_told(repository: Path, write: Write, cli: Cli) -> None:
    for number in range(12):
        write(f"slices/{number}.yaml", STUDENT % number)
    commit(repository)
    done = cli("preview", "--base", "main")
    assert done.code == 1
    assert "quota" in done.out


def test_an_exported_state_and_a_bare_repository_are_enough(
    repository: Path, write: Write, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_applied(repository, "slices/two-vms.yaml")
    write("slices/ring.yaml", RING)
    commit(repository)
    expected = cli("preview", "--base", "main", "--json").data
    assert cli("state", "export", "-o", str(tmp_path / "state.json")).code == 0
    git(repository, "clone", "--quiet", "--bare", ".", str(tmp_path / "bare"))
    shutil.rmtree(repository)
    monkeypatch.chdir(tmp_path)
    state = str(tmp_path / "state.json")
    bare = ("--repository", "bare", "--base", "main", "--head", "feature")
    found = cli("preview", *bare, "--state", state, "--json")
    assert found.code == 0, found.err
    assert found.data | {"head": None} == expected | {"head": None}


def test_revisions_without_a_common_commit_are_an_error(repository: Path, cli: Cli) -> None:
    git(repository, "checkout", "--quiet", "--orphan", "other")
    edit(repository, "vms:\n", "vms:\n  extra: {}\n")
    commit(repository)
    done = cli("preview", "--base", "main", "--head", "other")
    assert done.code == 1
    assert "main and other have no common commit" in done.err
    assert "fetch-depth: 0" in done.err


def test_user_data_is_in_no_form(repository: Path, write: Write, cli: Cli) -> None:
    secret = "hunter2hunter2"  # noqa: S105 - looked for
    write("slices/ring.yaml", RING.replace("b: {}", f"b: {{cloud_init: '#cloud-config {secret}'}}"))
    commit(repository)
    done = cli("preview", "--base", "main", "--output", "out")
    assert done.code == 0, done.err
    for path in (repository / "out").iterdir():
        assert secret not in path.read_text()


def test_an_image_file_that_a_branch_names_is_not_opened(repository: Path, cli: Cli) -> None:
    pipe = repository / "pipe"
    os.mkfifo(pipe)
    edit(repository, "images/cirros.qcow2", str(pipe), "cluster.yaml")
    commit(repository)
    assert cli("preview", "--base", "main").code == 0


def test_a_hostile_branch_costs_a_bounded_time(repository: Path, write: Write, cli: Cli) -> None:
    for number in range(20):
        write(f"slices/large{number}.yaml", f"# {number}\n" + "# a comment\n" * 87_000)
    bomb = "a: &a [x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(1000))
    write("slices/bomb.yaml", bomb)
    write("slices/ring.yaml", RING)
    commit(repository)
    begun = time.process_time()
    done = cli("preview", "--base", "main", "--json")
    assert time.process_time() - begun < 10
    assert done.code == 1
    summaries = [problem["summary"] for problem in done.data["problems"]]
    assert "the files of this revision have more than 16 MiB together" in summaries


def test_a_revision_with_too_many_files_is_refused(repository: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MAX_ENTRIES", 3)
    done = cli("preview", "--base", "main")
    assert (done.code, "has more than 3 files" in done.err) == (1, True)


def branch(folder: Path, name: str) -> None:
    """Commit what is changed on a branch of its own, made from main, and go back to main."""
    git(folder, "stash", "--quiet", "--include-untracked")
    git(folder, "checkout", "--quiet", "-b", name, "main")
    git(folder, "stash", "pop", "--quiet")
    commit(folder)
    git(folder, "checkout", "--quiet", "main")


def test_branches_that_do_not_fit_together_are_told_in_an_order_that_fits(
    repository: Path, write: Write, cli: Cli
) -> None:
    git(repository, "checkout", "--quiet", "main")
    edit(repository, "vms: 50", "vms: 3", "cluster.yaml")
    commit(repository)
    for name in ("one", "two"):
        write(f"slices/{name}.yaml", (STUDENT % 1).replace("student1", name))
        branch(repository, name)
    edit(repository, "vms: 3", "vms: 4", "cluster.yaml")
    branch(repository, "more")
    edit(repository, "web: {internet: true}", "web: {internet: true, memory: 1GiB}")
    branch(repository, "large")
    edit(repository, "web: {internet: true}", "web: {internet: true, memory: 2GiB}")
    branch(repository, "larger")
    named = ("--base", "main", "--head", "one")
    also = [word for name in ("two", "large", "larger") for word in ("--also", name)]
    objects = listing(repository / ".git" / "objects")
    found = cli("preview", *named, *also, "--json").data["together"]
    order = [(one["name"], one["position"]) for one in found]
    assert order == [("one", 1), ("large", 2), ("two", None), ("larger", None)]
    assert found[2]["reason"] == "slices/two.yaml:3:8: VMs of admin: limit 3, used 3, asked 1, free 0"
    assert found[3]["reason"] == "larger and main have both changed this file: it cannot be merged"
    text = cli("preview", *named, "--also", "two", "--also", "more", "--format", "text").out
    assert "Together, in this order, these fit: one, more, two." in text
    assert listing(repository / ".git" / "objects") == objects


def test_the_page_about_previews_shows_a_real_one() -> None:
    page = (HERE.parents[1] / "docs" / "preview.md").read_text()
    assert f"````markdown\n{(HERE / 'preview-branch.md').read_text()}````" in page
