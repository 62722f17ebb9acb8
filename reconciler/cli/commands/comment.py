"""The verbs of `comment`: a preview as a comment of a review, and its result as a commit status."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Final

import typer

from reconciler.cli.help import Verb
from reconciler.cli.session import Session
from reconciler.errors import Code, UsageError
from reconciler.gitops.sites.posting import marker_of, post_comment
from reconciler.gitops.sites.site import Site, State, Status
from reconciler.spec.quoting import shown
from reconciler.views.comments import comment_view
from reconciler.views.documents import CommentDocument

_GITHUB_API: Final = "https://api.github.com"
_GITLAB_API: Final = "https://gitlab.com/api/v4"
_LARGEST_PREVIEW: Final = 8 * 1024 * 1024
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REPOSITORY: Final = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_PROJECT: Final = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)

VERBS = (
    Verb("github", "Verbs", __name__, "github", "Post a preview to a pull request of GitHub."),
    Verb("gitlab", "Verbs", __name__, "gitlab", "Post a preview to a merge request of GitLab."),
)


def _not_from_a_file(context: typer.Context, url: str) -> str:
    """Refuse a URL of reconciler.toml: the branch in review could write one there, and the token would go to it."""
    source = context.get_parameter_source("api_url")
    if source is not None and source.name == "DEFAULT_MAP":
        raise UsageError(f"{shown(url)}: the URL of the API is not read from reconciler.toml", hint="use --api-url")
    return url


def _commit(text: str) -> str:
    if not _COMMIT.fullmatch(text):
        raise typer.BadParameter(f"{shown(text)} is not the whole id of a commit")
    return text


PreviewFile = Annotated[
    Path | None,
    typer.Argument(metavar="PREVIEW.md", help="The comment, which `reconciler preview --output DIR` writes."),
]
Commit = Annotated[
    str | None,
    typer.Option(
        "--commit",
        metavar="SHA",
        parser=_commit,
        envvar="RECONCILER_COMMIT",
        help="The commit of the preview. Nothing is posted if a later one is in review.",
    ),
]
StatusState = Annotated[
    State | None, typer.Option("--status", help="Also set the commit status reconciler/plan of --commit.")
]
Description = Annotated[
    str, typer.Option("--description", metavar="TEXT", help="What the commit status says, up to 140 characters.")
]
TargetUrl = Annotated[
    str | None, typer.Option("--target-url", metavar="URL", help="Where the commit status leads, such as the job.")
]
StatusOnly = Annotated[bool, typer.Option("--status-only", help="Set the commit status; post no comment.")]


Project = Annotated[
    str,
    typer.Option(
        "--project",
        metavar="ID|PATH",
        envvar=["RECONCILER_PROJECT", "CI_PROJECT_ID"],
        help="The project, as a number or as group/project.",
    ),
]
Repository = Annotated[
    str,
    typer.Option(
        "--repository",
        metavar="OWNER/NAME",
        envvar=["RECONCILER_REPOSITORY", "GITHUB_REPOSITORY"],
        help="The repository.",
    ),
]


def github(  # noqa: PLR0913 - one parameter for each option
    session: Session,
    preview: PreviewFile = None,
    *,
    repository: Repository,
    pull_request: Annotated[
        int, typer.Option("--pull-request", metavar="N", min=1, envvar="RECONCILER_PULL_REQUEST", help="Its number.")
    ],
    commit: Commit = None,
    status: StatusState = None,
    description: Description = "",
    target_url: TargetUrl = None,
    status_only: StatusOnly = False,
    author: Annotated[
        str | None,
        typer.Option(
            "--author",
            metavar="LOGIN",
            envvar="RECONCILER_AUTHOR",
            help="Who the token writes as, if it is an app's.",
            show_default="asked, else github-actions[bot]",
        ),
    ] = None,
    api_url: Annotated[
        str,
        typer.Option(
            "--api-url",
            metavar="URL",
            callback=_not_from_a_file,
            envvar=["RECONCILER_API_URL", "GITHUB_API_URL"],
            help="The API, for GitHub Enterprise.",
        ),
    ] = _GITHUB_API,
) -> None:
    """Post a preview to a pull request: one comment for each cluster, edited in place.

    The token is read from the environment variable GITHUB_TOKEN. It needs the permissions pull-requests: write and
    statuses: write. Only comments that the owner of the token wrote are edited.

    Examples:
      reconciler comment github --repository campus/topologies --pull-request 7 out/preview.md
      reconciler comment github --pull-request 7 --commit "$SHA" --status success out/preview.md
      reconciler comment github --pull-request 7 --commit "$SHA" --status pending --status-only
    """
    if not _REPOSITORY.fullmatch(repository):
        raise UsageError(f"{shown(repository)} is not a repository", hint="write OWNER/NAME")
    wanted = _wanted(commit, status, description, target_url, only=status_only)
    text = _text(preview, status_only=status_only)
    token = _token("GITHUB_TOKEN")
    if token is None:
        raise UsageError(
            "there is no token in GITHUB_TOKEN", hint="in a workflow: `env: {GITHUB_TOKEN: ${{ github.token }}}`"
        )
    from reconciler.gitops.sites.github import GitHub, github_api  # noqa: PLC0415 - urllib3: help does without it

    site = GitHub(github_api(api_url, token), repository, pull_request, author)
    _post(session, site, text, commit, wanted)


def gitlab(  # noqa: PLR0913 - one parameter for each option
    session: Session,
    preview: PreviewFile = None,
    *,
    project: Project,
    merge_request: Annotated[
        int,
        typer.Option(
            "--merge-request",
            metavar="N",
            min=1,
            envvar=["RECONCILER_MERGE_REQUEST", "CI_MERGE_REQUEST_IID"],
            help="Its number.",
        ),
    ],
    commit: Commit = None,
    status: StatusState = None,
    description: Description = "",
    target_url: TargetUrl = None,
    status_only: StatusOnly = False,
    api_url: Annotated[
        str,
        typer.Option(
            "--api-url",
            metavar="URL",
            callback=_not_from_a_file,
            envvar=["RECONCILER_API_URL", "CI_API_V4_URL"],
            help="The API, for a GitLab of your own.",
        ),
    ] = _GITLAB_API,
) -> None:
    """Post a preview to a merge request: one note for each cluster, edited in place.

    The token is read from the environment variable GITLAB_TOKEN. It needs the scope api and the role Developer;
    CI_JOB_TOKEN is tried if it is the only one, but GitLab lets no job token post. Only notes that the owner of the
    token wrote are edited.

    Examples:
      reconciler comment gitlab --project campus/topologies --merge-request 7 out/preview.md
      reconciler comment gitlab --commit "$SHA" --status success out/preview.md
      reconciler comment gitlab --commit "$SHA" --status pending --status-only
    """
    if not _PROJECT.fullmatch(project):
        raise UsageError(f"{shown(project)} is not a project", hint="write its number, or its path as group/project")
    wanted = _wanted(commit, status, description, target_url, only=status_only)
    text = _text(preview, status_only=status_only)
    token, job_token = _token("GITLAB_TOKEN"), _token("CI_JOB_TOKEN")
    used = token or job_token
    if used is None:
        raise UsageError("there is no token in GITLAB_TOKEN", hint="make a project access token with the scope `api`")
    from reconciler.gitops.sites.gitlab import GitLab, gitlab_api  # noqa: PLC0415 - urllib3: help does without it

    site = GitLab(gitlab_api(api_url, used, is_job_token=token is None), project, merge_request)
    _post(session, site, text, commit, wanted)


def _wanted(
    commit: str | None, status: State | None, description: str, url: str | None, *, only: bool
) -> Status | None:
    if status is None:
        if only:
            raise UsageError("--status-only needs --status")
        return None
    if commit is None:
        raise UsageError("--status needs --commit", hint="the whole id of the commit that was planned")
    return Status(commit, status, description, url)


def _token(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None


def _text(file: Path | None, *, status_only: bool) -> str | None:
    """Return the preview to post, or None if there is none to post."""
    if status_only:
        return None
    if file is None:
        raise UsageError("which preview?", hint="name the preview.md that `reconciler preview --output DIR` writes")
    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST_PREVIEW + 1)
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{shown(str(file))} cannot be read: {reason}", code=Code.FILE_UNREADABLE) from error
    if len(data) > _LARGEST_PREVIEW:
        raise UsageError(f"{shown(str(file))} has more than {_LARGEST_PREVIEW} bytes", code=Code.FILE_UNREADABLE)
    marker_of(text)
    return text


def _post(session: Session, site: Site, text: str | None, commit: str | None, status: Status | None) -> None:
    """Set the status, which belongs to the commit; then post the comment, which belongs to the latest commit."""
    if status is not None:
        site.set_status(status)
    set_to = status.state.value if status else None
    if text is None:
        found = CommentDocument(site=site.name, comment=None, url=None, superseded=0, status=set_to)
    elif commit is not None and site.head() != commit:
        found = CommentDocument(site=site.name, comment="outdated", url=None, superseded=0, status=set_to)
    else:
        posted = post_comment(site, text)
        found = CommentDocument(
            site=site.name,
            comment=posted.change.value,
            url=posted.url,
            superseded=posted.superseded,
            status=set_to,
        )
    session.show(comment_view(found))
