"""Slice files as texts: begun, and given a VM or a link more; comments and layout stay, and the spec checks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from reconciler.orchestrator.round_trip import dump, flow_list, flow_map, load


def begin(owner: str, name: str, topology: str) -> str:
    """Write a slice without anything in it; what the caller calls its topology becomes a label."""
    document = CommentedMap({"version": 1, "name": name, "owner": owner})
    if topology != "custom":
        document["labels"] = flow_map({"topology": topology})
    document |= {"vms": {}, "links": []}
    return dump(document)


def add_vm(text: str, name: str, settings: Mapping[str, Any]) -> str:
    """Return the text with a VM more."""
    document = load(text)
    _part(document, "vms", CommentedMap())[name] = flow_map(settings)
    return dump(document)


def add_link(text: str, one: str, other: str) -> str:
    """Return the text with a link more, between two ends such as `web:eth1`."""
    document = load(text)
    _part(document, "links", CommentedSeq()).append(flow_list([one, other]))
    return dump(document)


def _part(document: CommentedMap, key: str, fresh: Any) -> Any:
    """Return a part of the document, in block style where nothing is in it yet."""
    if not document.get(key):
        document[key] = fresh
    return document[key]
