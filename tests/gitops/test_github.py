from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.errors import SiteError, SiteRefused
from reconciler.gitops.sites.github import GitHub, github_api
from reconciler.gitops.sites.posting import Change, post_comment
from reconciler.gitops.sites.site import State, Status
from tests.gitops.conftest import SHORT, Waits
from tests.gitops.served import HEAD, TOKEN, Served, reply, serving
from tests.gitops.test_sites import PREVIEW, fill


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(Served()) as site:
        yield site


def github(served: Served, author: str | None = None) -> GitHub:
    return GitHub(github_api(served.url, TOKEN, SHORT, Waits().timing()), "campus/topologies", 7, author)


def test_the_token_of_a_workflow_writes_as_github_actions(served: Served) -> None:
    served.me, served.tells_user = "github-actions[bot]", 403
    assert post_comment(github(served), PREVIEW).change is Change.CREATED
    assert post_comment(github(served), PREVIEW + "more").change is Change.EDITED


def test_an_app_is_named(served: Served) -> None:
    served.me, served.tells_user = "campus-plans[bot]", 403
    served.put(PREVIEW)
    assert post_comment(github(served, "campus-plans[bot]"), PREVIEW + "more").change is Change.EDITED
    assert "/user" not in served.asked("GET")


def test_a_wrong_token_is_not_taken_for_one_of_a_workflow(served: Served) -> None:
    served.tells_user = 401
    with pytest.raises(SiteRefused, match="401"):
        github(served).author()


def test_a_limit_at_the_question_who_we_are_is_waited_for(served: Served) -> None:
    served.faults.append(reply(403, {"Retry-After": "1"}))
    assert github(served).author() == "7"


def test_a_comment_of_a_deleted_user_is_not_ours(served: Served) -> None:
    served.put(PREVIEW).author = ""
    assert post_comment(github(served), PREVIEW + "more").change is Change.CREATED


def test_links_to_pages_elsewhere_are_not_followed(served: Served) -> None:
    with serving(Served()) as other:
        served.elsewhere = other.url
        fill(served, 101)
        with pytest.raises(SiteError, match="the token is not sent"):
            list(github(served).comments())
        assert other.requests == []


def test_requests_are_those_of_the_documentation(served: Served) -> None:
    github(served).set_status(Status(HEAD, State.FAILURE, "2 problems"))
    (request,) = served.requests
    assert (request.method, request.path) == ("POST", f"/repos/campus/topologies/statuses/{HEAD}")
    assert request.data == {"state": "failure", "context": "reconciler/plan", "description": "2 problems"}
    assert request.headers["accept"] == "application/vnd.github+json"
    assert request.headers["x-github-api-version"] == "2022-11-28"
    assert request.headers["user-agent"].startswith("reconciler/")
