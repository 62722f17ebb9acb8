"""Slice files as texts: begun, and given a VM or a link more; comments and layout stay, and the spec checks them."""

from __future__ import annotations

from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq


def begin(owner: str, name: str, topology: str) -> str:
    """Write a slice without anything in it; what the caller calls its topology becomes a label."""
    document = CommentedMap({"version": 1, "name": name, "owner": owner})
    if topology != "custom":
        document["labels"] = _flow_map({"topology": topology})
    document |= {"vms": {}, "links": []}
    return _dump(document)


def add_vm(text: str, name: str, settings: dict[str, Any]) -> str:
    """Return the text with a VM more."""
    document = _load(text)
    vms = _part(document, "vms", CommentedMap())
    vms[name] = _flow_map(settings)
    return _dump(document)


def add_link(text: str, one: str, other: str) -> str:
    """Return the text with a link more, between two ends such as `web:eth1`."""
    document = _load(text)
    ends = CommentedSeq([one, other])
    ends.fa.set_flow_style()
    _part(document, "links", CommentedSeq()).append(ends)
    return _dump(document)


def _part(document: CommentedMap, key: str, fresh: Any) -> Any:
    """Return a part of the document, in block style where nothing is in it yet."""
    if not document.get(key):
        document[key] = fresh
    return document[key]


def _flow_map(settings: dict[str, Any]) -> CommentedMap:
    found = CommentedMap(settings)
    found.fa.set_flow_style()
    return found


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _load(text: str) -> CommentedMap:
    found: CommentedMap = _yaml().load(text)
    return found


def _dump(value: Any) -> str:
    stream = StringIO()
    _yaml().dump(value, stream)
    return stream.getvalue()
