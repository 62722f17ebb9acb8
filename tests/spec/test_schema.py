"""The JSON Schemas are committed as generated, and refuse what the models refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler.spec.models.fields import UpdatePolicy
from reconciler.spec.schema import MODELS, POLICY, json_schema, schema_text
from reconciler.spec.yaml.document import read_document
from tests.conftest import Golden

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples" / "topologies").glob("*.yaml"))
BARE: dict[str, Any] = {"version": 1, "name": "lab", "owner": "alice"}
WRONG: dict[str, dict[str, Any]] = {
    "unknown key": BARE | {"vmz": {}},
    "missing name": {"version": 1, "owner": "alice"},
    "bad name": BARE | {"name": "Lab"},
    "bad VM name": BARE | {"vms": {"-web": {}}},
    "size without a unit": BARE | {"vms": {"web": {"memory": 512}}},
    "number as text": BARE | {"vms": {"web": {"vcpus": "2"}}},
    "link with one end": BARE | {"links": [["web"]]},
    "link to eth0": BARE | {"links": [["web:eth0", "db:eth1"]]},
    "link with three ends": BARE | {"links": [{"endpoints": ["a", "b", "c"]}]},
}


def errors(kind: str, data: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(json_schema(kind)).iter_errors(data)]


@pytest.mark.parametrize("kind", MODELS)
def test_the_committed_schema_is_the_generated_one(kind: str, golden: Golden) -> None:
    Draft202012Validator.check_schema(json_schema(kind))
    golden(ROOT / "docs" / "schemas" / f"{kind}.json", schema_text(kind))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_match_the_schema(path: Path) -> None:
    assert errors("slice", read_document(path.read_text())) == []


def test_the_example_cluster_matches_the_schema() -> None:
    assert errors("cluster", read_document((ROOT / "examples" / "cluster.yaml").read_text())) == []


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_what_the_models_refuse_the_schema_refuses(data: dict[str, Any]) -> None:
    assert errors("slice", data) != []


def test_every_field_of_a_slice_has_an_update_policy() -> None:
    schema = json_schema("slice")
    parts = [schema["properties"]] + [schema["$defs"][name]["properties"] for name in ("Vm", "VmDefaults")]
    parts.append(schema["$defs"]["Link"]["anyOf"][1]["properties"])
    assert {field[POLICY] for part in parts for field in part.values()} <= {str(policy) for policy in UpdatePolicy}
