"""A kind of resource needs one noun and one driver: an eleventh one is planned, shown, saved and simulated."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import reconciler
from reconciler import workflow
from reconciler.plan.build import build_plan
from reconciler.plan.model import Action, Plan
from reconciler.plan.planfile import SavedPlan, read_plan, write_plan
from reconciler.plan.resources import KINDS, Resource
from reconciler.plan.snapshot import ResourceDrift, Seen, StateSnapshot
from reconciler.simulation.cluster import SimulatedCluster
from reconciler.spec.models.names import Address, SliceKey
from reconciler.views.plan_json import render_json
from reconciler.views.plan_text import render_text
from reconciler.workflow.simulate import apply_on, simulate
from tests.plan.eleventh.beacon import Beacon
from tests.plan.examples import LAB1, change, cluster, lab, plan
from tests.plan.replay import replay

EXAMPLES = Path(__file__).parents[2] / "examples"
WHERE = "beacon/alice/lab1/a"


@pytest.fixture(autouse=True)
def _eleventh() -> Iterator[None]:
    KINDS.register(Beacon)
    yield
    KINDS.remove(Beacon.kind)


def state_of(made: Plan) -> StateSnapshot:
    """Return the state once a plan from nothing is done."""
    return replay(StateSnapshot(lineage="test"), made)


def test_its_resources_are_in_the_text_and_the_json_of_a_plan() -> None:
    made = plan(lab(["a"]))
    assert f"    + beacon/alice/lab1/a on worker1  # create: not in the state\n{' ' * 10}path " in render_text(made)
    assert f"{' ' * 10}path /var/lib/reconciler/beacons/1001, text a has 1 vCPU\n" in render_text(made)
    shown = next(item for item in json.loads(render_json(made))["resource_changes"] if item["address"] == WHERE)
    assert (shown["type"], shown["slice"], shown["host"]) == ("beacon", LAB1, "worker1")
    assert shown["change"]["after"]["text"] == "a has 1 vCPU"
    steps = {step.address: step.id for step in made.steps}
    assert steps[Address(WHERE)] > steps[Address("vm/alice/lab1/a")]


def test_a_saved_plan_has_them() -> None:
    made = plan(lab(["a"]))
    assert read_plan(write_plan(SavedPlan(made, "cluster.yaml")), "plan").plan == made


def test_a_change_a_drift_and_a_loss_are_planned() -> None:
    state = state_of(plan(lab(["a"])))
    found = change(plan(lab({"a": {"vcpus": 2}}), state=state), WHERE)
    assert (found.action, found.reason) == (Action.UPDATE, "text changed")
    changed = state.seen(Seen({Address(WHERE): ResourceDrift(gone=False, values={"text": "other"})}))
    assert change(plan(lab(["a"]), state=changed), WHERE).reason == "text changed on worker1"
    gone = state.seen(Seen({Address(WHERE): ResourceDrift(gone=True)}))
    assert change(plan(lab(["a"]), state=gone), WHERE).reason == "gone from worker1"
    assert change(build_plan(cluster(), [], state, destroy=[LAB1]), WHERE).action is Action.DELETE


def test_every_interruption_of_an_apply_with_them_is_simulated() -> None:
    inputs = workflow.load(EXAMPLES / "cluster.yaml", [EXAMPLES / "topologies" / "internet-only.yaml"])
    hosts = inputs.cluster.cluster.hosts()
    model = SimulatedCluster([host.name for host in hosts])
    result = simulate(model, inputs, most=12)
    assert (result.failure, result.simulated) == (None, 12)
    assert apply_on(model, inputs).ok
    beacons = [where for where in model.store.read().resources if where.startswith("beacon/")]
    assert beacons == ["beacon/admin/internet-only/solo"]
    gone = workflow.Asked(destroy=(SliceKey("admin/internet-only"),))
    assert apply_on(model, workflow.Inputs(inputs.cluster), gone).ok
    assert model.objects() == {}


def test_two_kinds_have_two_names() -> None:
    class Other(Resource):
        kind = Beacon.kind

    with pytest.raises(ValueError, match="two kinds of resources are named beacon"):
        KINDS.register(Other)


def kinds_asked(source: str) -> set[str]:
    """Return the kinds that a module compares a resource with, by isinstance or in a match."""
    names = {noun.__name__ for noun in KINDS.values()}
    found: list[ast.expr] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name("isinstance"), args=[_, kinds]):
                found.append(kinds)
            case ast.MatchClass(cls=kind):
                found.append(kind)
            case _:
                pass
    return {node.id for kinds in found for node in ast.walk(kinds) if isinstance(node, ast.Name)} & names


def test_no_module_outside_the_nouns_asks_which_kind_a_resource_is() -> None:
    assert kinds_asked("if isinstance(one, Disk | Vm): ...") == {"Disk", "Vm"}
    assert kinds_asked("match one:\n    case Port(tap=name): ...") == {"Port"}
    package = Path(reconciler.__file__).parent
    modules = [path for path in package.rglob("*.py") if path.parent != package / "plan" / "resources"]
    assert {str(path.relative_to(package)): found for path in modules if (found := kinds_asked(path.read_text()))} == {}
