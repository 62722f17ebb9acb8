from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.errors import SiteRefused
from reconciler.gitops.sites.gitlab import GitLab, gitlab_api
from reconciler.gitops.sites.posting import Change, post_comment
from reconciler.gitops.sites.site import State, Status
from tests.gitops.conftest import SHORT, Waits
from tests.gitops.served import HEAD, TOKEN, Served, ServedGitLab, reply, serving
from tests.gitops.test_sites import PREVIEW


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(ServedGitLab()) as site:
        yield site


def gitlab(served: Served, *, is_job_token: bool = False) -> GitLab:
    url = served.url + served.prefix
    api = gitlab_api(url, TOKEN, is_job_token=is_job_token, bounds=SHORT, timing=Waits().timing())
    return GitLab(api, "campus/topologies", 7)


def test_the_token_of_a_job_is_sent_as_one_and_the_refusal_explains_it(served: Served) -> None:
    with pytest.raises(SiteRefused) as caught:
        post_comment(gitlab(served, is_job_token=True), PREVIEW)
    assert "CI_JOB_TOKEN, which cannot post" in str(caught.value.hint)
    (request,) = served.requests
    assert request.headers["job-token"] == TOKEN
    assert "authorization" not in request.headers


def test_notes_of_the_system_are_no_comments(served: Served) -> None:
    served.put(PREVIEW).system = True
    assert post_comment(gitlab(served), PREVIEW + "more").change is Change.CREATED


def test_lines_that_gitlab_would_run_are_text(served: Served) -> None:
    text = PREVIEW + "/merge\n  /close\n\n```\n/approve\n```\npath /a /b\n//x\n"
    post_comment(gitlab(served), text)
    (note,) = served.notes
    assert note.body == PREVIEW + "\\/merge\n  \\/close\n\n```\n\\/approve\n```\npath /a /b\n//x\n"
    assert post_comment(gitlab(served), text).change is Change.UNCHANGED


@pytest.mark.parametrize(
    ("state", "name"),
    [(State.PENDING, "pending"), (State.SUCCESS, "success"), (State.FAILURE, "failed"), (State.ERROR, "failed")],
)
def test_states_have_the_names_of_gitlab(served: Served, state: State, name: str) -> None:
    gitlab(served).set_status(Status(HEAD, state, "done"))
    assert served.statuses == [(HEAD, {"state": name, "name": "reconciler/plan", "description": "done"})]
    assert served.asked("POST") == [f"/api/v4/projects/campus%2Ftopologies/statuses/{HEAD}"]


def test_other_refusals_of_a_status_are_errors(served: Served) -> None:
    served.faults.append(reply(400, data={"message": {"sha": ["is too short"]}}))
    with pytest.raises(SiteRefused, match="is too short"):
        gitlab(served).set_status(Status(HEAD, State.SUCCESS))
