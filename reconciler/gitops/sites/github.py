"""A pull request of GitHub or GitHub Enterprise (https://docs.github.com/en/rest)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final
from urllib.parse import quote

from pydantic import TypeAdapter

from reconciler.gitops.sites.api import Api, Bounds, Timing
from reconciler.gitops.sites.site import CONTEXT, Comment, Shape, Status, parsed

ACTIONS_AUTHOR: Final = "github-actions[bot]"
"""Who writes with the token of a workflow, which may not ask who it is."""

_FORBIDDEN: Final = 403
_HEADERS: Final = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_HINTS: Final[Mapping[int, str]] = {
    401: "the token in GITHUB_TOKEN is wrong, expired or revoked",
    403: "give the job `permissions: {pull-requests: write, statuses: write}`; for a pull request from a fork the "
    "token is read-only, so post from a job of `workflow_run` (docs/gitops.md)",
    404: "check --repository, --pull-request and --commit: the token may not see the repository, or one does not exist",
    422: "GitHub refuses the content: check --commit, and --description",
}


class _User(Shape):
    login: str


class _Comment(Shape):
    id: int
    body: str | None = None
    user: _User | None = None
    html_url: str | None = None


class _Head(Shape):
    sha: str


class _PullRequest(Shape):
    head: _Head


_USER: Final = TypeAdapter(_User)
_COMMENT: Final = TypeAdapter(_Comment)
_COMMENTS: Final = TypeAdapter(list[_Comment])
_PULL_REQUEST: Final = TypeAdapter(_PullRequest)


@dataclass(frozen=True, slots=True)
class GitHub:
    """One pull request; `own_author` is who we are where the token may not ask, such as an app's `NAME[bot]`."""

    api: Api
    repository: str
    number: int
    own_author: str | None = None
    name: ClassVar[str] = "GitHub"
    longest: ClassVar[int] = 65_536

    def author(self) -> str:
        """Return our login; GitHub refuses to tell it to the token of a workflow or an app."""
        if self.own_author is not None:
            return self.own_author
        answer = self.api.get("/user")
        if answer.status == _FORBIDDEN:
            return ACTIONS_AUTHOR
        if not answer.ok:
            raise self.api.refusal("GET", "/user", answer)
        return parsed(_USER, answer.body, self.name, "a user").login

    def head(self) -> str:
        """Return the latest commit of the pull request."""
        body = self.api.read(f"{self._repository}/pulls/{self.number}")
        return parsed(_PULL_REQUEST, body, self.name, "a pull request").head.sha

    def comments(self) -> Iterator[Comment]:
        """Yield every comment of the conversation."""
        for page in self.api.pages(f"{self._repository}/issues/{self.number}/comments"):
            found = parsed(_COMMENTS, page, self.name, "a list of comments")
            yield from map(_comment, found)

    def create(self, body: str) -> Comment:
        """Add a comment."""
        path = f"{self._repository}/issues/{self.number}/comments"
        answer = self.api.send("POST", path, {"body": body}, repeatable=False)
        return _comment(parsed(_COMMENT, answer.body, self.name, "a comment"))

    def edit(self, number: int, body: str) -> Comment:
        """Replace the text of a comment."""
        answer = self.api.send("PATCH", f"{self._repository}/issues/comments/{number}", {"body": body})
        return _comment(parsed(_COMMENT, answer.body, self.name, "a comment"))

    def set_status(self, status: Status) -> None:
        """Set the status of a commit; the latest one of a context counts."""
        data = {"state": str(status.state), "context": CONTEXT, "description": status.short_description()}
        if status.url is not None:
            data["target_url"] = status.url
        self.api.send("POST", f"{self._repository}/statuses/{quote(status.commit, safe='')}", data)

    def harmless(self, body: str) -> str:
        """Return the text: GitHub runs no commands of comments."""
        return body

    @property
    def _repository(self) -> str:
        owner, _, name = self.repository.partition("/")
        return f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"


def github_api(base: str, token: str, bounds: Bounds = Bounds(), timing: Timing = Timing()) -> Api:  # noqa: B008 - frozen
    """Return the API of GitHub."""
    headers = {**_HEADERS, "Authorization": f"Bearer {token}"}
    return Api(GitHub.name, base, token, headers, _HINTS, bounds, timing)


def _comment(found: _Comment) -> Comment:
    return Comment(found.id, found.user.login if found.user else "", found.body or "", found.html_url)
