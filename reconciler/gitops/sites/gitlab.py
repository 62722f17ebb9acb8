"""A merge request of GitLab, of gitlab.com or another (https://docs.gitlab.com/api/rest/)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final
from urllib.parse import quote

from pydantic import TypeAdapter

from reconciler.errors import SiteRefused
from reconciler.gitops.sites.api import Api, Bounds, Timing
from reconciler.gitops.sites.site import CONTEXT, Comment, Shape, State, Status, parsed

_BAD_REQUEST: Final = 400
_STATES: Final = {State.PENDING: "pending", State.SUCCESS: "success", State.FAILURE: "failed", State.ERROR: "failed"}
_ROLES: Final = "give GITLAB_TOKEN the scope `api` and the role Developer"
_HINTS: Final[Mapping[int, str]] = {
    401: "the token in GITLAB_TOKEN is wrong, expired or revoked",
    403: _ROLES,
    404: "check --project, --merge-request and --commit: the token may not see the project, or one does not exist",
    422: "GitLab refuses the content: check --commit, and --description",
}
_JOB_HINT: Final = (
    f"the only token here is CI_JOB_TOKEN, which cannot post; {_ROLES}, as a masked variable of the project"
)
_COMMAND: Final = re.compile(r"^(\s*)/(?=[A-Za-z])", re.MULTILINE)


class _User(Shape):
    id: int


class _Note(Shape):
    id: int
    body: str = ""
    author: _User | None = None
    system: bool = False


class _MergeRequest(Shape):
    sha: str


_USER: Final = TypeAdapter(_User)
_NOTE: Final = TypeAdapter(_Note)
_NOTES: Final = TypeAdapter(list[_Note])
_MERGE_REQUEST: Final = TypeAdapter(_MergeRequest)


@dataclass(frozen=True, slots=True)
class GitLab:
    """One merge request; `project` is a number, or a path such as group/project."""

    api: Api
    project: str
    number: int
    name: ClassVar[str] = "GitLab"
    longest: ClassVar[int] = 1_000_000

    def author(self) -> str:
        """Return the id of the user that the token belongs to."""
        return str(parsed(_USER, self.api.read("/user"), self.name, "a user").id)

    def head(self) -> str:
        """Return the latest commit of the merge request."""
        return parsed(_MERGE_REQUEST, self.api.read(self._request), self.name, "a merge request").sha

    def comments(self) -> Iterator[Comment]:
        """Yield every note that a user wrote."""
        for page in self.api.pages(f"{self._request}/notes?sort=asc&order_by=created_at"):
            notes = parsed(_NOTES, page, self.name, "a list of notes")
            yield from (_comment(note) for note in notes if not note.system)

    def create(self, body: str) -> Comment:
        """Add a note."""
        answer = self.api.send("POST", f"{self._request}/notes", {"body": body}, repeatable=False)
        return _comment(parsed(_NOTE, answer.body, self.name, "a note"))

    def edit(self, number: int, body: str) -> Comment:
        """Replace the text of a note."""
        answer = self.api.send("PUT", f"{self._request}/notes/{number}", {"body": body})
        return _comment(parsed(_NOTE, answer.body, self.name, "a note"))

    def set_status(self, status: Status) -> None:
        """Set the status of a commit; GitLab refuses one that is set already, which is no error."""
        data = {"state": _STATES[status.state], "name": CONTEXT, "description": status.short_description()}
        if status.url is not None:
            data["target_url"] = status.url
        try:
            self.api.send("POST", f"{self._project}/statuses/{quote(status.commit, safe='')}", data)
        except SiteRefused as error:
            if error.status != _BAD_REQUEST or "Cannot transition status" not in error.summary:
                raise

    def harmless(self, body: str) -> str:
        r"""Return a text whose lines are no quick actions: `/merge` becomes `\/merge`, which looks the same."""
        return _COMMAND.sub(r"\1\\/", body)

    @property
    def _project(self) -> str:
        return f"/projects/{quote(self.project, safe='')}"

    @property
    def _request(self) -> str:
        return f"{self._project}/merge_requests/{self.number}"


def gitlab_api(
    base: str,
    token: str,
    *,
    is_job_token: bool = False,
    bounds: Bounds = Bounds(),  # noqa: B008 - frozen
    timing: Timing = Timing(),  # noqa: B008 - frozen
) -> Api:
    """Return the API of GitLab."""
    hints = {**_HINTS, 401: _JOB_HINT, 403: _JOB_HINT} if is_job_token else _HINTS
    headers = {"JOB-TOKEN": token} if is_job_token else {"Authorization": f"Bearer {token}"}
    return Api(GitLab.name, base, token, headers, hints, bounds, timing)


def _comment(note: _Note) -> Comment:
    return Comment(note.id, str(note.author.id) if note.author else "", note.body)
