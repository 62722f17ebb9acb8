"""Generates JSON Schemas of slice and cluster files from their models, for editors and other tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.fields import Model, UpdatePolicy
from reconciler.spec.models.slice import Link, Slice, Vm, VmDefaults

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
POLICY: Final = "x-update-policy"
"""What changing the field does to a running slice: live, restart, recreate or immutable."""

MODELS: Final[Mapping[str, type[Model]]] = {"slice": Slice, "cluster": Cluster}
"""The kinds of files, by the name that `reconciler schema` takes."""

_WITH_POLICIES: Final[tuple[type[Model], ...]] = (Slice, Vm, VmDefaults, Link)


def json_schema(kind: str) -> dict[str, Any]:
    """Return the schema of one kind of file, with the short form of links; raises KeyError for an unknown kind."""
    schema = MODELS[kind].model_json_schema()
    _tidy(schema)
    parts = {MODELS[kind].__name__: schema} | schema.get("$defs", {})
    for model in _WITH_POLICIES:
        for name, policy in _policies(model).items():
            if properties := parts.get(model.__name__, {}).get("properties"):
                properties[name][POLICY] = policy
    if link := parts.get(Link.__name__):
        schema["$defs"][Link.__name__] = {"anyOf": [link["properties"]["endpoints"], link]}
    return {"$schema": DIALECT, "title": f"A {kind} file of the topology reconciler"} | schema


def schema_text(kind: str) -> str:
    """Return the schema as text, as it is committed and printed."""
    return json.dumps(json_schema(kind), indent=2, ensure_ascii=False) + "\n"


def _policies(model: type[Model]) -> dict[str, str]:
    return {
        name: str(item)
        for name, field in model.model_fields.items()
        for item in field.metadata
        if isinstance(item, UpdatePolicy)
    }


def _tidy(schema: Any) -> None:
    """Remove titles that only repeat field names, and refuse keys that do not match the pattern for names."""
    match schema:
        case dict():
            if isinstance(schema.get("title"), str):
                del schema["title"]
            if "patternProperties" in schema:
                schema["additionalProperties"] = False
            for part in schema.values():
                _tidy(part)
        case list():
            for part in schema:
                _tidy(part)
        case _:
            pass
