"""Both sites, each served on a real socket, and our adapter for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from reconciler.gitops.sites.api import Api, Bounds, Timing
from reconciler.gitops.sites.github import GitHub, github_api
from reconciler.gitops.sites.gitlab import GitLab, gitlab_api
from reconciler.gitops.sites.site import Site
from tests.gitops.served import TOKEN, Served, ServedGitLab, serving

NOW = 1_795_000_000.0


@dataclass
class Waits:
    """A clock that waiting moves on, and all waits."""

    all: list[float] = field(default_factory=list)

    def timing(self) -> Timing:
        """Return the clock for an API."""
        return Timing(clock=lambda: NOW + sum(self.all), sleep=self.all.append, jitter=lambda: 0.5)


SHORT = Bounds(connect=2, silence=0.5, answer=1, size=4_000_000)


@dataclass
class Review:
    """One review: the site as served, our adapter, and how long it waited."""

    served: Served
    site: Site
    api: Api
    waits: Waits
    connect: Callable[[str, str, Bounds], Site]
    """Makes an adapter with another URL, token or bounds."""


@pytest.fixture(params=["GitHub", "GitLab"])
def review(request: pytest.FixtureRequest) -> Iterator[Review]:
    """One review on each site."""
    waits = Waits()

    def github(url: str, token: str, bounds: Bounds) -> GitHub:
        return GitHub(github_api(url, token, bounds, waits.timing()), "campus/topologies", 7)

    def gitlab(url: str, token: str, bounds: Bounds) -> GitLab:
        api = gitlab_api(url, token, bounds=bounds, timing=waits.timing())
        return GitLab(api, "campus/topologies", 7)

    with serving(Served() if request.param == "GitHub" else ServedGitLab()) as served:
        connect = github if request.param == "GitHub" else gitlab
        site = connect(served.url + served.prefix, TOKEN, SHORT)
        yield Review(served, site, site.api, waits, connect)
