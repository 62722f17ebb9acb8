"""Formats what `comment` did on a Git hosting site."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.spec.quoting import escape, plural
from reconciler.views.documents import CommentDocument
from reconciler.views.view import View


def comment_view(document: CommentDocument) -> View:
    """Show what happened to the comment and to the commit status."""
    return View(lambda: _lines(document), lambda: document)


def _lines(document: CommentDocument) -> Iterator[str]:
    site = document.site
    if document.status is not None:
        yield f"{site}: the status of the commit is {document.status}.\n"
    if document.comment == "outdated":
        yield f"{site}: not posted, because the commit is not the latest one of this review.\n"
    elif document.comment is not None:
        place = f": {escape(document.url)}" if document.url else "."
        yield f"{site}: comment {document.comment}{place}\n"
    if document.superseded:
        yield f"{site}: {plural(document.superseded, 'older comment')} folded.\n"
