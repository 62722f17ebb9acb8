"""Edits slice files as text: a new slice, one more VM, one more link; comments and layout are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from reconciler.orchestrator.round_trip import dump, flow_list, flow_map, load


def new_slice(owner: str, name: str, topology: str) -> str:
    """Return the text of an empty slice; the caller's name for its topology becomes a label."""
    document = CommentedMap({"version": 1, "name": name, "owner": owner})
    if topology != "custom":
        document["labels"] = flow_map({"topology": topology})
    document |= {"vms": {}, "links": []}
    return dump(document)


def add_vm(text: str, name: str, settings: Mapping[str, Any]) -> str:
    """Return the text with one more VM."""
    document = load(text)
    _part(document, "vms", CommentedMap())[name] = flow_map(settings)
    return dump(document)


def add_link(text: str, one: str, other: str) -> str:
    """Return the text with one more link, between two ends such as `web:eth1`."""
    document = load(text)
    _part(document, "links", CommentedSeq()).append(flow_list([one, other]))
    return dump(document)


def _part(document: CommentedMap, key: str, fresh: Any) -> Any:
    """Return a part of the document; an empty part is replaced by one in block style."""
    if not document.get(key):
        document[key] = fresh
    return document[key]
