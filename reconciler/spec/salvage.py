"""Removes what is not valid from a slice file's document, so that the rest can be checked in the same run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from reconciler.spec.expand import ExpandedSlice, expand
from reconciler.spec.models.slice import Link, Slice
from reconciler.spec.yaml.document import Path

_FORMAT: Final = frozenset({"version", "topology"})
_IDENTITY: Final = ("name", "owner")
_PLACEHOLDER: Final = "unknown"


@dataclass(frozen=True)
class Salvaged:
    """What is valid of a slice file: `links` by their index in the file, and `lost` keys of the top level."""

    slice: ExpandedSlice
    links: Mapping[int, Link]
    lost: frozenset[str]


def salvage(data: Mapping[str, Any], error: ValidationError) -> Salvaged | None:
    """Return what is valid of a document that pydantic refused; None if it is of another version or topology.

    VMs and groups that are not valid keep their names, since links and VMs refer to them.
    """
    paths = [item["loc"] for item in error.errors(include_url=False, include_context=False, include_input=False)]
    if any(path and path[0] in _FORMAT for path in paths):
        return None
    document = {key: _copy(value) for key, value in data.items()}
    lost = {str(path[0]) for path in paths if len(path) == 1}
    for path in paths:
        _remove(document, path)
    document.update({key: _PLACEHOLDER for key in _IDENTITY if key in lost})
    links = document.get("links") or []
    indexes = [index for index, link in enumerate(links) if link is not None]
    document["links"] = [links[index] for index in indexes]
    try:
        model = Slice.model_validate(document)
    except ValidationError:
        return None
    return Salvaged(expand(model), dict(zip(indexes, model.links, strict=True)), frozenset(lost))


def _copy(value: Any) -> Any:
    match value:
        case dict():
            return {key: _copy(each) for key, each in value.items()}
        case list():
            return [_copy(each) for each in value]
        case _:
            return value


def _remove(document: dict[str, Any], path: Path) -> None:
    """Remove a value that is not valid: a setting, or a link whose endpoints are not valid, which becomes None."""
    match path:
        case (str(key),):
            document.pop(key, None)
        case ("links", int(index), str(key), *_) if key != "endpoints" and isinstance(document["links"][index], dict):
            document["links"][index].pop(key, None)
        case ("links", int(index), *_):
            document["links"][index] = None
        case (("vms" | "groups") as part, str(name)) if name in document[part]:
            document[part][name] = {}
        case (("vms" | "groups") as part, str(name), "[key]"):
            document[part].pop(name, None)
        case (("vms" | "groups") as part, str(name), key, *_):
            _drop(document[part].get(name), key)
        case (str(part), key, *_):
            _drop(document.get(part), key)
        case _:
            pass


def _drop(layer: Any, key: Any) -> None:
    if isinstance(layer, dict):
        layer.pop(key, None)
