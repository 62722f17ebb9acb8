"""The action, the workflows, the component and the hook: valid by their schemas, and their shell run for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema.validators import validator_for
from ruamel.yaml import YAML

from tests.gitops.served import TOKEN, Served, ServedGitLab, serving

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/gitops"
WORKFLOWS = EXAMPLE / ".github/workflows"
ACTION = ROOT / "action.yml"
COMPONENT = ROOT / "templates/preview.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
BIN = Path(sys.executable).parent
EXPRESSION = "${{"


def documents(file: Path) -> list[Any]:
    return list(YAML(typ="safe").load_all(file.read_text(encoding="utf-8")))


def steps() -> Iterator[tuple[str, Any]]:
    """Return every step of the action and of the workflows."""
    yield from ((ACTION.name, step) for step in documents(ACTION)[0]["runs"]["steps"])
    for file in sorted(WORKFLOWS.glob("*.yml")):
        (workflow,) = documents(file)
        yield from ((file.name, step) for job in workflow["jobs"].values() for step in job["steps"])


@dataclass
class Repository:
    """A clone of the example, as a job has it, with main as the base and another branch checked out."""

    folder: Path
    base: str

    def git(self, *arguments: str) -> str:
        argv = ["git", "-c", "user.name=x", "-c", "user.email=x@x.example", *arguments]
        return subprocess.run(argv, cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Change")
        return self.git("rev-parse", "HEAD")

    def add_vm(self) -> str:
        """Give web one more VM."""
        slice_file = self.folder / "slices/bob/web.yaml"
        slice_file.write_text(slice_file.read_text().replace("  back: {}\n", "  back: {}\n  more: {}\n"))
        return self.commit()

    def break_file(self) -> str:
        """Make a slice file wrong."""
        (self.folder / "slices/bob/web.yaml").write_text("version: 1\nname: web\nowner: carol\nvms: {}\n")
        return self.commit()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    origin = tmp_path / "origin"
    shutil.copytree(EXAMPLE, origin)
    made = Repository(origin, "")
    made.git("init", "--quiet", "--initial-branch", "main")
    base = made.commit()
    made.git("clone", "--quiet", str(origin), str(tmp_path / "job"))
    found = Repository(tmp_path / "job", base)
    found.git("checkout", "--quiet", "-b", "feature")
    return found


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return what a job has in its environment: nothing of ours, and the installed reconciler on PATH."""
    return {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home), "LANG": "C.UTF-8", **more}


def bash(script: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    argv = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]  # as both sites run it
    return subprocess.run(argv, cwd=folder, env=env, check=False, capture_output=True, text=True)


SCHEMAS = [
    (ACTION, "github-actions"),
    *((file, "github-workflows") for file in sorted(WORKFLOWS.glob("*.yml"))),
    (COMPONENT, "gitlab-ci"),
    (EXAMPLE / ".gitlab-ci.yml", "gitlab-ci"),
]


@pytest.mark.parametrize(("file", "name"), SCHEMAS, ids=lambda value: getattr(value, "name", value))
def test_files_are_valid_by_the_schemas_of_the_sites(file: Path, name: str) -> None:
    vendored = resources.files("check_jsonschema").joinpath("builtin_schemas", "vendor", f"{name}.json")
    schema = json.loads(vendored.read_text(encoding="utf-8"))
    validator = validator_for(schema)(schema)
    for document in documents(file):
        assert [error.message for error in validator.iter_errors(document)] == []


def test_other_actions_are_pinned_by_commit_with_their_version() -> None:
    used = [step["uses"] for _, step in steps() if "uses" in step]
    assert len(used) == 5
    assert [name for name in used if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", name)] == []


def test_no_script_has_an_expression_in_its_text() -> None:
    scripts = [(file, step["run"]) for file, step in steps() if "run" in step]
    assert len(scripts) == 5
    assert [file for file, script in scripts if EXPRESSION in script] == []
    (_, component) = documents(COMPONENT)
    assert "$[[" not in json.dumps([component["reconciler-preview"][key] for key in ("before_script", "script")])


def test_the_branch_runs_without_a_token_that_writes_and_what_writes_runs_no_branch() -> None:
    (plan,), (post,) = documents(WORKFLOWS / "preview.yml"), documents(WORKFLOWS / "preview-comment.yml")
    assert list(plan["on"]) == ["pull_request"]
    assert plan["permissions"] == {"contents": "read"}
    assert "secrets" not in json.dumps(plan)
    assert list(post["on"]) == ["workflow_run"]
    assert post["on"]["workflow_run"]["workflows"] == [plan["name"]]
    assert "actions/checkout" not in json.dumps(post)


def test_inputs_and_outputs_are_those_of_the_page() -> None:
    (action,) = documents(ACTION)
    assert list(action["inputs"]) == ["base", "head", "cluster", "state", "fail-on"]
    assert list(action["outputs"]) == ["changed", "digest", "comment-file", "sarif"]
    assert action["inputs"]["fail-on"]["default"] == documents(COMPONENT)[0]["spec"]["inputs"]["fail-on"]["default"]


@dataclass
class Ran:
    """What the action's step left."""

    code: int
    outputs: dict[str, str]
    summary: str
    said: str


def run_action(repository: Repository, tmp_path: Path, **inputs: str) -> Ran:
    (action,) = documents(ACTION)
    (step,) = [one for one in action["runs"]["steps"] if one.get("id") == "preview"]
    given = {name: str(entry.get("default", "")) for name, entry in action["inputs"].items()}
    given |= {name.replace("_", "-"): value for name, value in inputs.items()}
    env = {}
    for variable, expression in step["env"].items():
        name = re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", expression)
        assert name is not None
        env[variable] = given[name[1]]
    output, summary = tmp_path / "output", tmp_path / "summary"
    output.write_text("")
    summary.write_text("")
    places = {"RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
    done = bash(step["run"], repository.folder, environment(tmp_path, **places, **env))
    outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
    return Ran(done.returncode, outputs, summary.read_text(), done.stdout + done.stderr)


def test_the_action_previews_a_branch(repository: Repository, tmp_path: Path) -> None:
    repository.add_vm()
    ran = run_action(repository, tmp_path, base=repository.base)
    assert ran.code == 0, ran.said
    assert ran.outputs["changed"] == "true"
    assert re.fullmatch(r"[0-9a-f]{16,64}", ran.outputs["digest"])
    comment = Path(ran.outputs["comment-file"]).read_text()
    assert comment.startswith("<!-- reconciler:preview cluster=campus -->\n")
    assert "vm/bob/web/more" in comment
    assert ran.summary == comment
    assert json.loads(Path(ran.outputs["sarif"]).read_text())["version"] == "2.1.0"


@pytest.mark.parametrize(
    ("change", "fail_on", "code"),
    [
        ("nothing", "changes", 0),
        ("more", "problems", 0),
        ("more", "changes", 1),
        ("more", "never", 0),
        ("wrong", "problems", 1),
        ("wrong", "changes", 1),
        ("wrong", "never", 0),
    ],
)
def test_the_action_fails_on_what_it_is_told_and_leaves_its_outputs(
    repository: Repository, tmp_path: Path, change: str, fail_on: str, code: int
) -> None:
    if change == "more":
        repository.add_vm()
    elif change == "wrong":
        repository.break_file()
    ran = run_action(repository, tmp_path, base=repository.base, fail_on=fail_on)
    assert ran.code == code, ran.said
    assert ran.outputs["changed"] == str(change == "more").lower()
    assert Path(ran.outputs["comment-file"]).is_file()


HOSTILE = ["$(touch hit)`touch hit`; touch hit\nchanged=true", "--output=/tmp' || touch hit #"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["base", "head", "cluster", "state", "fail_on"])
def test_inputs_are_only_values(repository: Repository, tmp_path: Path, name: str, text: str) -> None:
    ran = run_action(repository, tmp_path, **{"base": repository.base, name: text})
    assert not list(tmp_path.rglob("hit"))
    if name != "state":  # a state that is not there is empty
        assert ran.code == 1
    assert set(ran.outputs) in (set(), {"changed", "digest", "comment-file", "sarif"})


def run_post(folder: Path, served: Served, head: str, conclusion: str = "success") -> subprocess.CompletedProcess[str]:
    (workflow,) = documents(WORKFLOWS / "preview-comment.yml")
    *_, step = workflow["jobs"]["post"]["steps"]
    given = {"GITHUB_TOKEN": TOKEN, "HEAD_SHA": head, "CONCLUSION": conclusion, "RUN_URL": "https://ci.example/1"}
    assert set(step["env"]) == set(given)
    site = {"GITHUB_API_URL": served.url, "GITHUB_REPOSITORY": "campus/topologies"}
    return bash(step["run"], folder, environment(folder, **given, **site))


@pytest.fixture
def review(tmp_path: Path) -> Path:
    """Leave what the first workflow leaves for the second."""
    folder = tmp_path / "review"
    folder.mkdir()
    (folder / "number").write_text("7\n")
    (folder / "preview.md").write_text("<!-- reconciler:preview cluster=campus -->\nhello\n")
    return folder


@pytest.mark.parametrize(("conclusion", "state"), [("success", "success"), ("failure", "failure")])
def test_the_second_workflow_posts_what_the_first_left(review: Path, conclusion: str, state: str) -> None:
    with serving(Served()) as served:
        done = run_post(review.parent, served, "a" * 40, conclusion)
        assert done.returncode == 0, done.stderr
        assert [one.body for one in served.notes] == [(review / "preview.md").read_text()]
        assert [data["state"] for _, data in served.statuses] == [state]
        assert TOKEN not in done.stdout + done.stderr


def test_the_second_workflow_posts_nothing_to_another_pull_request(review: Path) -> None:
    with serving(Served()) as served:
        done = run_post(review.parent, served, "b" * 40)
        assert "not posted" in done.stdout
        assert served.notes == []


@pytest.mark.parametrize("number", ["", "7 8", "$(touch hit)", "-7", "0", "7;x", "99999999999999", "../7"])
def test_the_second_workflow_refuses_what_is_no_number(review: Path, number: str) -> None:
    (review / "number").write_text(number)
    with serving(Served()) as served:
        done = run_post(review.parent, served, "a" * 40)
        assert (done.returncode, served.requests) == (1, [])
    assert not list(review.parent.rglob("hit"))


def test_the_second_workflow_reads_no_file_of_the_machine(review: Path) -> None:
    (review / "preview.md").rename(review.parent / "secret")
    (review / "preview.md").symlink_to(review.parent / "secret")
    with serving(Served()) as served:
        assert run_post(review.parent, served, "a" * 40).returncode == 1
        assert served.requests == []


def run_component(
    repository: Repository, tmp_path: Path, head: str, served: Served, **more: str
) -> subprocess.CompletedProcess[str]:
    header, body = documents(COMPONENT)
    job = body["reconciler-preview"]
    inputs = {name: str(entry.get("default", "")) for name, entry in header["spec"]["inputs"].items()}
    variables = {
        name: re.sub(r"\$\[\[ inputs\.([\w-]+) \]\]", lambda found: inputs[found[1]], value)
        for name, value in job["variables"].items()
    }
    predefined = {
        "CI_COMMIT_SHA": head,
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_PROJECT_ID": "campus/topologies",
        "CI_API_V4_URL": served.url + served.prefix,
        "CI_JOB_URL": "https://ci.example/1",
        "CI_JOB_TOKEN": "another",
    }
    env = environment(tmp_path, **{**variables, **predefined, **more})
    return bash("\n".join(job["script"]), repository.folder, env)


def test_the_component_posts_to_the_merge_request(repository: Repository, tmp_path: Path) -> None:
    head = repository.add_vm()
    with serving(ServedGitLab(head=head)) as served:
        done = run_component(repository, tmp_path, head, served, GITLAB_TOKEN=TOKEN)
        assert done.returncode == 0, done.stderr
        assert "vm/bob/web/more" in served.notes[0].body
        assert [(commit, data["state"]) for commit, data in served.statuses] == [(head, "success")]
    reports = documents(COMPONENT)[1]["reconciler-preview"]["artifacts"]["reports"]
    assert json.loads((repository.folder / reports["terraform"]).read_text()).keys() == {"create", "update", "delete"}
    assert isinstance(json.loads((repository.folder / reports["codequality"]).read_text()), list)


def test_the_component_reports_problems_and_fails(repository: Repository, tmp_path: Path) -> None:
    head = repository.break_file()
    with serving(ServedGitLab(head=head)) as served:
        done = run_component(repository, tmp_path, head, served, GITLAB_TOKEN=TOKEN)
        assert done.returncode == 1
        assert len(served.notes) == 1
        assert [data["state"] for _, data in served.statuses] == ["failed"]
        assert run_component(repository, tmp_path, head, served, PREVIEW_FAIL_ON="never").returncode == 0


def test_the_component_plans_without_a_token(repository: Repository, tmp_path: Path) -> None:
    with serving(ServedGitLab()) as served:
        done = run_component(repository, tmp_path, repository.add_vm(), served)
        assert (done.returncode, served.requests) == (0, [])
    assert "nothing is posted" in done.stdout
    assert (repository.folder / "preview/preview.md").is_file()


def test_the_hook_runs_in_pre_commit(repository: Repository, tmp_path: Path) -> None:
    """The hook as it is, but in this environment, because building another one needs the network."""
    ((hook,),) = documents(HOOKS)
    config = {"repos": [{"repo": "local", "hooks": [{**hook, "language": "unsupported"}]}]}
    (repository.folder / ".pre-commit-config.yaml").write_text(json.dumps(config))
    env = environment(tmp_path, PRE_COMMIT_HOME=str(tmp_path / "cache"))

    def commit_all() -> subprocess.CompletedProcess[str]:
        repository.git("add", "--all")
        argv = ["pre-commit", "run", "--color", "never"]
        return subprocess.run(argv, cwd=repository.folder, env=env, check=False, capture_output=True, text=True)

    slice_file = repository.folder / "slices/bob/web.yaml"
    slice_file.write_text(slice_file.read_text().replace("back:eth1", "bakc:eth1"))
    done = commit_all()
    assert done.returncode == 1, done.stderr
    assert "unknown-name" in done.stdout
    slice_file.write_text(slice_file.read_text().replace("bakc:eth1", "back:eth1"))
    (repository.folder / "slices/bob/other.yaml").write_text(slice_file.read_text().replace("name: web", "name: other"))
    assert (done := commit_all()).returncode == 0, done.stdout


def test_the_example_is_valid_and_plans(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state.db"))
    done = [
        subprocess.run(argv, cwd=EXAMPLE, env=environment(tmp_path), check=False, capture_output=True, text=True)
        for argv in (["reconciler", "validate"], ["reconciler", "plan", *state])
    ]
    assert [one.returncode for one in done] == [0, 0], done
    assert done[0].stdout == "Valid: cluster campus, 2 slices: alice/routing, bob/web.\n"
    assert "Plan: 38 to add, 0 to change, 0 to replace, 0 to destroy." in done[1].stdout


def test_owners_have_the_folders_that_codeowners_gives_them() -> None:
    (cluster,) = documents(EXAMPLE / "cluster.yaml")
    lines = (EXAMPLE / ".github/CODEOWNERS").read_text().splitlines()
    owned = dict(line.split() for line in lines if not line.startswith("#"))
    folders = {f"/slices/{name}/": f"@{name}" for name in cluster["users"]}
    assert owned == {"*": "@campus/network-team", **folders}
    assert {name: user["paths"] for name, user in cluster["users"].items()} == {
        name: [f"slices/{name}/**"] for name in cluster["users"]
    }
