"""The verb `preview`: what merging a revision would change, for a review."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from reconciler.cli.commands.plan import CHANGES, DetailedExitcode
from reconciler.cli.session import SLICES, Session
from reconciler.errors import UsageError
from reconciler.files import write_file
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.models.cluster import Cluster
from reconciler.state.reader import open_reader
from reconciler.state.snapshots import is_export, read_exported
from reconciler.trees import CLUSTER_FILE
from reconciler.views.preview import preview_text
from reconciler.views.preview_documents import (
    code_quality_report,
    document_text,
    preview_document,
    sarif_report,
    terraform_report,
)
from reconciler.views.preview_markdown import comment
from reconciler.views.view import View
from reconciler.workflow.preview import Place, Preview, cluster_of, preview_merge


class Form(StrEnum):
    """A form of a preview on standard output; --json is another one."""

    MARKDOWN = "markdown"
    TEXT = "text"
    SARIF = "sarif"
    CODE_QUALITY = "code-quality"
    TERRAFORM = "terraform"


_FORMS: Final[Mapping[Form, Callable[[Preview], str]]] = {
    Form.MARKDOWN: lambda found: comment(found).text,
    Form.TEXT: preview_text,
    Form.SARIF: sarif_report,
    Form.CODE_QUALITY: code_quality_report,
    Form.TERRAFORM: terraform_report,
}
_FILES: Final[Mapping[str, Callable[[Preview], str]]] = {
    "preview.md": lambda found: comment(found).text,
    "preview-rest.md": lambda found: comment(found).rest,
    "preview.json": document_text,
    "preview.sarif": sarif_report,
    "codequality.json": code_quality_report,
    "terraform.json": terraform_report,
}


def preview(  # noqa: PLR0913 - one parameter for each option
    session: Session,
    slices: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH]...",
            help="Slice files or folders, from the top of the repository.",
            show_default="slices, beside the cluster file",
        ),
    ] = None,
    *,
    base: Annotated[str, typer.Option("--base", metavar="REV", help="The branch that is merged into.")],
    head: Annotated[str, typer.Option("--head", metavar="REV", help="The branch or commit to merge.")] = "HEAD",
    also: Annotated[
        list[str] | None,
        typer.Option("--also", metavar="REV", help="Another open branch: say which fit together, and in which order."),
    ] = None,
    repository: Annotated[
        Path, typer.Option("--repository", metavar="DIR", help="A clone, bare or not.", show_default="here")
    ] = Path(),
    form: Annotated[Form, typer.Option("--format", help="What to print.")] = Form.MARKDOWN,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Also write all forms into this folder.")
    ] = None,
    detailed_exitcode: DetailedExitcode = False,
) -> int:
    """Show what merging a branch would change. Reads Git's objects and the state; contacts no host, writes no state.

    The merge is planned from the state as it is once the base is applied, so the preview shows what the branch changes
    and nothing else. The cluster file and the slices are those of each revision, and nothing is checked out.
    --state may be a state, or a file of `reconciler state export`.

    A file that is not valid is reported, and its slice stays as it is; the others are planned. The exit code is 1 if
    the merge brings problems or cannot be planned.

    Examples:
      reconciler preview --base main
      reconciler preview --base origin/main --head feature --format text
      reconciler preview --base main --state state.json --output out
      reconciler preview --base main --json | jq .slices
      reconciler preview --base main --head one --also two --also three
    """
    place = _place(session, repository, slices or [])
    found = preview_merge(place, base, head, _state(session, cluster_of(place, base)), also or ())
    if output is not None:
        _write(output, found)
    session.show(View(lambda: [_FORMS[form](found)], lambda: preview_document(found)))
    if not found.ok:
        return 1
    return CHANGES if detailed_exitcode and not found.empty else 0


def _place(session: Session, repository: Path, slices: list[str]) -> Place:
    """Return where the files are in the repository: --cluster names a path from its top."""
    cluster = CLUSTER_FILE if session.cluster is None else str(session.cluster)
    if cluster.startswith("/"):
        hint = "name it from the top of the repository, as --cluster lab/cluster.yaml"
        raise UsageError(f"{cluster} is not a path in the repository", hint=hint)
    folder = cluster.rpartition("/")[0]
    return Place(repository, cluster, tuple(slices) or (f"{folder}/{SLICES}" if folder else SLICES,))


def _state(session: Session, cluster: Cluster | None) -> StateSnapshot:
    """Return the whole state: an exported one, or that of the cluster; empty if there is none."""
    if session.state is not None and is_export(str(session.state)):
        return read_exported(Path(session.state))
    if cluster is None:
        return StateSnapshot("")
    reader = open_reader(cluster, session.state)
    try:
        return reader.read(None)
    finally:
        reader.close()


def _write(folder: Path, found: Preview) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, form in _FILES.items():
        if text := form(found):
            write_file(folder / name, text)
