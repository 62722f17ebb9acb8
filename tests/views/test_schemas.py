from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from reconciler import workflow
from reconciler.errors import Code, Location, Problem
from reconciler.plan.build import build_plan
from reconciler.views.documents import PlanDocument
from reconciler.views.errors import error_json
from reconciler.views.plan import plan_view
from reconciler.views.schemas import DOCUMENTS, schema_text
from tests.plan.examples import EMPTY

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "docs/schemas"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schema_of_every_document_is_current(name: str, request: pytest.FixtureRequest) -> None:
    file = SCHEMAS / f"{name}.json"
    if request.config.getoption("--update-golden"):
        file.write_text(schema_text(name), encoding="utf-8")
    assert file.read_text(encoding="utf-8") == schema_text(name)


def test_there_is_no_other_schema() -> None:
    assert {file.stem for file in SCHEMAS.glob("*.json")} == {*DOCUMENTS, "slice", "cluster"}


def test_the_document_of_a_plan_is_a_plan_document() -> None:
    inputs = workflow.load(ROOT / "examples/cluster.yaml", [ROOT / "examples/topologies/triangle.yaml"])
    made = build_plan(inputs.cluster.cluster, [file.slice for file in inputs.slices], EMPTY, tool="test")
    data = json.loads(json.dumps(plan_view(made).document()))
    assert PlanDocument.model_validate(data).model_dump(mode="json") == data


def test_the_document_of_an_error_keeps_to_its_schema() -> None:
    problems = (Problem(Code.USAGE, "no"), Problem(Code.WRONG_VALUE, "no", Location("x.yaml", 2, 3), "a hint"))
    document = json.loads(error_json(Code.USAGE, "no", problems))
    assert list(Draft202012Validator(json.loads(schema_text("error"))).iter_errors(document)) == []
