"""Loads and dumps YAML for edits in place: comments, quotes and layout are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq


def load(text: str) -> Any:
    """Read a document with its comments and layout; raises ruamel's YAMLError if it is malformed."""
    return _yaml().load(text)


def dump(document: Any) -> str:
    """Write a document."""
    stream = StringIO()
    _yaml().dump(document, stream)
    return stream.getvalue()


def flow_map(values: Mapping[str, Any]) -> CommentedMap:
    """Return a mapping in flow style, on one line."""
    found = CommentedMap(values)
    found.fa.set_flow_style()
    return found


def flow_list(values: Iterable[Any]) -> CommentedSeq:
    """Return a list in flow style, on one line."""
    found = CommentedSeq(values)
    found.fa.set_flow_style()
    return found


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
