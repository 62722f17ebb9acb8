"""Keeps one comment for each cluster in a review: found again by its first line, edited in place, never doubled."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from reconciler.errors import SiteUnanswered, UsageError
from reconciler.gitops.sites.site import Comment, Site
from reconciler.spec.quoting import shown

_MARKER: Final = re.compile(r"<!-- reconciler:preview cluster=[^\s<>]{1,100} -->")
_SUPERSEDED: Final = "<!-- reconciler:superseded -->\n<details><summary>Superseded</summary>\n\n"
_END: Final = "\n\n</details>"
_CUT: Final = "\n\n_The rest was cut: it is longer than a comment can be._"
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ROOM: Final = 500
"""Characters kept free for what closes a text that was cut."""
_ATTEMPTS: Final = 3


class Change(StrEnum):
    """What happened to the comment."""

    CREATED = "created"
    EDITED = "edited"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Posted:
    """What happened to the comment, where it is, and how many older ones were folded."""

    change: Change
    url: str | None
    superseded: int


def marker_of(text: str) -> str:
    """Return the first line of a preview, by which its comment is found; raises UsageError for another text."""
    first = _first_line(text)
    if not _MARKER.fullmatch(first):
        hint = "post the preview.md that `reconciler preview --output DIR` writes"
        raise UsageError(f"this is not a preview: it begins with {shown(first)}", hint=hint)
    return first


def post_comment(site: Site, text: str) -> Posted:
    """Create or edit our comment so that it has this text; older ones with the same marker are folded.

    If it is unknown whether a comment was created, the comments are read again before another is. Raises SiteError,
    and UsageError if the text is not a preview.
    """
    marker = marker_of(text)
    body = fitting(site.harmless(text), site.longest)
    author = site.author()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _post(site, author, marker, body)
        except SiteUnanswered:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError(attempt)


def _post(site: Site, author: str, marker: str, body: str) -> Posted:
    ours = [one for one in site.comments() if one.author == author and _first_line(one.body) == marker]
    if not ours:
        return Posted(Change.CREATED, site.create(body).url, 0)
    *older, latest = sorted(ours, key=lambda one: one.number)
    for one in older:
        site.edit(one.number, _folded(one, site.longest))
    if _plain(latest.body) == _plain(body):
        return Posted(Change.UNCHANGED, latest.url, len(older))
    return Posted(Change.EDITED, site.edit(latest.number, body).url, len(older))


def _folded(comment: Comment, longest: int) -> str:
    rest = _plain(comment.body).partition("\n")[2]
    return _SUPERSEDED + fitting(rest, longest - len(_SUPERSEDED) - len(_END)) + _END


def fitting(text: str, longest: int) -> str:
    """Return a text that fits into a comment: cut after a line, with its code block and folded parts closed."""
    if len(text) <= longest:
        return text
    kept = text[: longest - _ROOM].rpartition("\n")[0] or text[: longest - _ROOM]
    fence, folded = _open(kept)
    return kept + (f"\n{fence}" if fence else "") + "\n\n</details>" * min(folded, 20) + _CUT


def _open(text: str) -> tuple[str, int]:
    """Return the fence of the code block that a text ends in, and how many folded parts are open there."""
    fence, folded = "", 0
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if fence:
            if found and found[1].startswith(fence) and not found[2].strip():
                fence = ""
        elif found:
            fence = found[1]
        else:
            folded += line.count("<details") - line.count("</details>")
    return fence[:100], max(folded, 0)


def _plain(text: str) -> str:
    """Return a text without differences that sites make: line ends, and space at the end."""
    return text.replace("\r\n", "\n").rstrip()


def _first_line(text: str) -> str:
    return _plain(text).partition("\n")[0].rstrip()
