"""Posts previews and commit statuses to GitHub and GitLab."""

from reconciler.gitops.sites.github import GitHub, github_api
from reconciler.gitops.sites.gitlab import GitLab, gitlab_api
from reconciler.gitops.sites.posting import Change, Posted, marker_of, post_comment
from reconciler.gitops.sites.site import Site, State, Status

__all__ = [
    "Change",
    "GitHub",
    "GitLab",
    "Posted",
    "Site",
    "State",
    "Status",
    "github_api",
    "gitlab_api",
    "marker_of",
    "post_comment",
]
