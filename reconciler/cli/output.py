"""Prints views: the one place that picks text or JSON, and colour or none."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

from reconciler.cli.global_options import GlobalOptions
from reconciler.views.tables import Table, plain
from reconciler.views.view import Block, PlanText, View


def show(options: GlobalOptions, view: View) -> None:
    """Print a view on standard output."""
    if options.json:
        sys.stdout.write(to_json(view.document()))
    else:
        write_blocks(options, view.text())
        sys.stderr.write(view.notes())


def remark(options: GlobalOptions, blocks: Iterable[Block]) -> None:
    """Print what only people need beside the result; with --json, nothing, because the document says it."""
    if not options.json:
        write_blocks(options, blocks)


def ask_about(options: GlobalOptions, blocks: Iterable[Block]) -> None:
    """Print what a question is about; with --json on standard error, because standard output has the result alone."""
    if options.json:
        sys.stderr.writelines(map(block_text, blocks))
    else:
        write_blocks(options, blocks)


def to_json(document: Any) -> str:
    """Return a document, or a list of documents, as indented JSON with its newline."""
    return json.dumps(_plain_data(document), indent=2, ensure_ascii=False) + "\n"


def write_blocks(options: GlobalOptions, blocks: Iterable[Block]) -> None:
    """Write text to standard output, in colour if that is a terminal."""
    coloured = is_terminal(sys.stdout)
    for block in blocks:
        if isinstance(block, str):
            sys.stdout.write(block)
        elif coloured:
            from reconciler.cli.colour import console_of, write_coloured  # noqa: PLC0415 - rich: only a terminal needs it

            write_coloured(console_of(options), block)
        else:
            sys.stdout.write(block_text(block))
        sys.stdout.flush()  # making the next block may take long


def block_text(block: Block) -> str:
    """Return a block without colour."""
    match block:
        case PlanText(text=text):
            return text
        case Table():
            return plain(block)
        case _:
            return block


def is_terminal(stream: Any) -> bool:
    """Whether a stream shows colours; FORCE_COLOR makes a pipe count as a terminal."""
    return bool(stream.isatty() or os.environ.get("FORCE_COLOR"))


def shows_progress(options: GlobalOptions) -> bool:
    """Whether to show progress: not with --json, because programs read the result."""
    return not options.json


def shows_bars(options: GlobalOptions) -> bool:
    """Whether to show progress as bars on standard error."""
    capable = is_terminal(sys.stderr) and os.environ.get("TERM", "") not in {"dumb", "unknown"}
    return shows_progress(options) and capable


def _plain_data(document: Any) -> Any:
    if isinstance(document, BaseModel):
        return document.model_dump(mode="json")
    if isinstance(document, Sequence) and not isinstance(document, str):
        return [_plain_data(entry) for entry in document]
    return document
