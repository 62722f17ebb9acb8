"""Formats what the verbs about files show."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.spec.quoting import escape, plural
from reconciler.spec.schema import json_schema, schema_text
from reconciler.views import documents
from reconciler.views.view import Document, View


def written_view(written: Sequence[str]) -> View:
    """Show which files `init` wrote, and what to do next."""
    lines = [f"wrote {escape(path)}\n" for path in written]
    after = "Next: write your hosts into cluster.yaml, then run `reconciler validate` and `reconciler plan`.\n"
    return View(lambda: [*lines, after], lambda: documents.Written(written=list(written)))


def valid_view(cluster: str, slices: Sequence[str]) -> View:
    """Say that files are valid."""
    return View(
        lambda: [f"Valid: cluster {cluster}, {plural(len(slices), 'slice')}: {', '.join(slices)}.\n"],
        lambda: documents.Valid(valid=True, cluster=cluster, slices=list(slices)),
    )


def schema_view(kind: str) -> View:
    """Show the JSON Schema of a kind of file, on few lines for editors, and indented as other documents are."""
    return View(lambda: [schema_text(kind)], lambda: json_schema(kind))


def line_view(line: str, document: Document) -> View:
    """Show one line."""
    return View(lambda: [f"{line}\n"], lambda: document)
