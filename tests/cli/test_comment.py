"""`comment github` and `comment gitlab`, against the sites as served on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import Cli, Write
from tests.gitops.served import HEAD, TOKEN, Served, ServedGitLab, reply, serving

PREVIEW = "<!-- reconciler:preview cluster=campus -->\n### Preview\n"
OLDER = "b" * 40


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("GITHUB_", "GITLAB_", "CI_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def preview(write: Write) -> Path:
    return write("out/preview.md", PREVIEW)


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, preview: Path) -> Iterator[Served]:
    """GitHub, as a workflow sees it."""
    with serving(Served()) as site:
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN + "\n")
        monkeypatch.setenv("GITHUB_API_URL", site.url)
        monkeypatch.setenv("GITHUB_REPOSITORY", "campus/topologies")
        yield site


@pytest.fixture
def gitlab(monkeypatch: pytest.MonkeyPatch, preview: Path) -> Iterator[ServedGitLab]:
    """GitLab, as a job of a merge request sees it."""
    with serving(ServedGitLab()) as site:
        monkeypatch.setenv("GITLAB_TOKEN", TOKEN)
        monkeypatch.setenv("CI_JOB_TOKEN", "another")
        monkeypatch.setenv("CI_API_V4_URL", site.url + site.prefix)
        monkeypatch.setenv("CI_PROJECT_ID", "campus/topologies")
        monkeypatch.setenv("CI_MERGE_REQUEST_IID", "7")
        yield site  # type: ignore[misc]


def test_github(cli: Cli, github: Served) -> None:
    status = ("--commit", HEAD, "--status", "success", "--description", "1 to add")
    done = cli("comment", "github", "--pull-request", "7", *status, "out/preview.md")
    place = "https://github.com/campus/topologies/pull/7#issuecomment-1001"
    said = f"GitHub: the status of the commit is success.\nGitHub: comment created: {place}\n"
    assert (done.code, done.out, done.err) == (0, said, "")
    assert [one.body for one in github.notes] == [PREVIEW]
    assert [(commit, data["state"]) for commit, data in github.statuses] == [(HEAD, "success")]
    assert cli("comment", "github", "--pull-request", "7", "out/preview.md", "--json").data == {
        "format_version": 1,
        "site": "GitHub",
        "comment": "unchanged",
        "url": place,
        "superseded": 0,
        "status": None,
    }


def test_gitlab(cli: Cli, gitlab: ServedGitLab) -> None:
    gitlab.put(PREVIEW + "old")
    gitlab.put(PREVIEW + "older text")
    done = cli("comment", "gitlab", "--commit", HEAD, "--status", "failure", "out/preview.md")
    said = "GitLab: the status of the commit is failure.\nGitLab: comment edited.\nGitLab: 1 older comment folded.\n"
    assert (done.code, done.out) == (0, said)
    assert gitlab.notes[1].body == PREVIEW
    assert [data["state"] for _, data in gitlab.statuses] == ["failed"]


@pytest.mark.parametrize("site", ["github", "gitlab"])
def test_a_preview_of_an_older_commit_replaces_nothing(cli: Cli, site: str, request: pytest.FixtureRequest) -> None:
    served: Served = request.getfixturevalue(site)
    number = ["--pull-request", "7"] if site == "github" else []
    done = cli("comment", site, *number, "--commit", OLDER, "--status", "success", "out/preview.md")
    assert done.code == 0
    assert "not posted, because the commit is not the latest one" in done.out
    assert served.notes == []
    assert [commit for commit, _ in served.statuses] == [OLDER]


def test_the_status_alone_needs_no_preview(cli: Cli, github: Served) -> None:
    done = cli("comment", "github", "--pull-request", "7", "--commit", HEAD, "--status", "pending", "--status-only")
    assert (done.code, done.out) == (0, "GitHub: the status of the commit is pending.\n")
    assert [one.method for one in github.requests] == ["POST"]


def test_a_refusal_names_the_token_nowhere(cli: Cli, github: Served) -> None:
    github.faults.append(reply(403, data={"message": f"{TOKEN} may not"}))
    github.faults.append(reply(403, data={"message": f"{TOKEN} may not"}))
    done = cli("-v", "comment", "github", "--pull-request", "7", "out/preview.md")
    assert done.code == 1
    assert "error[site]: GitHub answered 403" in done.err
    assert "pull-requests: write" in done.err
    assert TOKEN not in done.out + done.err


def test_only_a_token_of_the_job_is_explained(cli: Cli, gitlab: ServedGitLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITLAB_TOKEN")
    done = cli("comment", "gitlab", "out/preview.md")
    assert done.code == 1
    assert "CI_JOB_TOKEN, which cannot post" in done.err
    assert gitlab.notes == []


@pytest.mark.parametrize("site", ["github", "gitlab"])
def test_the_branch_in_review_does_not_say_where_the_token_goes(
    cli: Cli, write: Write, site: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    request.getfixturevalue(site)
    monkeypatch.delenv("GITHUB_API_URL", raising=False)
    monkeypatch.delenv("CI_API_V4_URL", raising=False)
    with serving(Served()) as other:
        write("reconciler.toml", f'[comment.{site}]\napi-url = "{other.url}"\n')
        number = ["--pull-request", "7"] if site == "github" else []
        done = cli("comment", site, *number, "out/preview.md")
        assert done.code == 1
        assert "is not read from reconciler.toml" in done.err
        assert other.requests == []


WRONG = {
    "no token": (
        ["github", "--pull-request", "7", "--repository", "a/b", "out/preview.md"],
        "no token in GITHUB_TOKEN",
    ),
    "no token of GitLab": (["gitlab", "--merge-request", "7", "--project", "5", "out/preview.md"], "in GITLAB_TOKEN"),
    "no preview": (["github", "--pull-request", "7", "--repository", "a/b"], "which preview?"),
    "a repository": (["github", "--pull-request", "7", "--repository", "a/b/../c", "out/preview.md"], "OWNER/NAME"),
    "a project": (["gitlab", "--merge-request", "7", "--project", "a//b", "out/preview.md"], "not a project"),
    "a number": (
        ["github", "--pull-request", "0", "--repository", "a/b", "out/preview.md"],
        "greater than or equal to 1",
    ),
    "a commit": (["github", "--pull-request", "7", "--repository", "a/b", "--commit", "main"], "whole id of a commit"),
    "no commit": (["gitlab", "--merge-request", "7", "--project", "5", "--status", "error"], "--status needs --commit"),
    "no status": (["gitlab", "--merge-request", "7", "--project", "5", "--status-only"], "--status-only needs"),
    "no file": (["github", "--pull-request", "7", "--repository", "a/b", "nowhere.md"], "No such file"),
    "another file": (["github", "--pull-request", "7", "--repository", "a/b", "other.md"], "not a preview"),
    "no text": (["github", "--pull-request", "7", "--repository", "a/b", "bytes.md"], "not UTF-8"),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_posted_is_said_before_anything_is_sent(
    cli: Cli, preview: Path, write: Write, arguments: list[str], said: str
) -> None:
    write("other.md", "# Notes\n")
    write("bytes.md", "").write_bytes(b"\xff")
    done = cli("comment", *arguments)
    assert done.code == 1
    assert said in done.err
