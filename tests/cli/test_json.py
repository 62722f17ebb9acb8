"""Every document that is printed with --json has the shape that its schema says."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from reconciler import workflow
from reconciler.simulation.cluster import HOLDER
from reconciler.state.location import default_place
from reconciler.state.sql.store import open_store
from tests.cli.running import Cli

SCHEMAS = Path(__file__).parents[2] / "docs/schemas"


def problems(cli: Cli, verb: str, *arguments: str) -> list[str]:
    """Run a verb and return how its document differs from the schema of the verb."""
    document = cli(*verb.split("-"), *arguments, "--json").data
    schema = json.loads((SCHEMAS / f"{verb}.json").read_text(encoding="utf-8"))
    return [error.message for error in Draft202012Validator(schema).iter_errors(document)]


@pytest.mark.usefixtures("project")
def test_documents_before_and_after_an_apply(cli: Cli, folder: Path) -> None:
    before = [("init", "../new"), ("validate",), ("plan",), ("plan", "-o", "x.plan"), ("show", "x.plan"), ("status",)]
    apply = [("apply", "--auto-approve"), ("apply", "--auto-approve")]
    after = [
        *(("status",), ("show", "two-vms"), ("history",), ("history", "1"), ("unlock", "two-vms")),
        *(("state-list",), ("state-export", "-o", "state.json"), ("state-import", "state.json", "--auto-approve")),
        *(("drift",), ("gc", "--dry-run"), ("doctor",), ("destroy", "two-vms", "--auto-approve")),
    ]
    found = {call: problems(cli, *call) for call in (*before, *apply, *after)}
    assert found == {call: [] for call in found}
    assert folder.joinpath("state.json").exists()


def test_documents_of_a_resource(cli: Cli, project: Path) -> None:
    inputs = workflow.load(project / "cluster.yaml", [project / "slices/two-vms.yaml"])
    with closing(open_store(default_place("campus"), cluster="campus", clock=lambda: datetime.now(UTC))) as store:
        planned = workflow.plan(inputs, store)
        store.intend(store.begin(planned, HOLDER, ""), planned.steps[:1])
    address = planned.steps[0].address
    assert [row["address"] for row in cli("state", "list", "--json").data] == [address]
    found = [problems(cli, "state-list"), problems(cli, "state-show", address), problems(cli, "history", "1")]
    assert [*found, problems(cli, "state-forget", address, "--auto-approve")] == [[], [], [], []]


@pytest.mark.usefixtures("project")
def test_the_document_of_a_simulation(cli: Cli) -> None:
    assert problems(cli, "plan", "--rehearse") == []


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("arguments", [["show", "none"], ["plan", "nowhere.yaml"], ["verify"], ["plan", "--no-such"]])
def test_the_document_of_an_error(cli: Cli, arguments: list[str]) -> None:
    document = cli(*arguments, "--json").data
    schema = json.loads((SCHEMAS / "error.json").read_text(encoding="utf-8"))
    assert [error.message for error in Draft202012Validator(schema).iter_errors(document)] == []
    assert document["format_version"] == 1
