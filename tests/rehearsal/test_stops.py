"""Stopped at any moment, an apply is completed by the next: on hosts in memory, with the real executor and record."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler import workflow
from reconciler.plan.record import SHARED
from reconciler.rehearsal.hosts import amiss
from reconciler.rehearsal.stage import Scene, Stage
from reconciler.spec.names import SliceKey

ROOT = Path(__file__).parents[2]
MAKE, DESTROY = workflow.Asked(), workflow.Asked(destroy=(SliceKey("admin/two-vms"),))


def check_every_stop(stage: Stage, start: Scene, inputs: workflow.Inputs, asked: workflow.Asked) -> int:
    """Stop everywhere, apply once more from each distinct scene, and return how many moments there were."""
    stage.rewind(start)
    assert stage.apply(inputs, asked).ok
    goal, record = stage.standing(), stage.store.read()
    stage.rewind(start)
    stops = stage.stops(inputs, asked, lambda _: True)
    for stop in stops:
        for scene in [stop.scene, stop.scene.cut()] if stop.scene.busy else [stop.scene]:
            assert amiss(scene.hosts) == [], stop.words
            stage.rewind(scene)
            again = stage.apply(inputs, asked)
            assert again.ok, (stop.words, again.report)
            assert stage.standing() == goal, stop.words
            ended = stage.store.read()
            assert (ended.resources, ended.allocations, ended.held, ended.counters) == (
                record.resources, record.allocations, record.held, record.counters
            ), stop.words  # fmt: skip
            left = {lock.name for lock in stage.store.locks()}
            assert left <= {SHARED}, "an apply with nothing to do leaves the dead one's shared lock to be taken over"
            assert workflow.plan(inputs, stage.store, asked).empty
    return len(stops)


@pytest.mark.parametrize(("verb", "moments"), [("create", 83), ("destroy", None)])
def test_one_apply_completes_what_was_stopped_anywhere(verb: str, moments: int | None) -> None:
    inputs = workflow.load(ROOT / "examples/cluster.yaml", [ROOT / "examples/topologies/two-vms.yaml"])
    cluster = inputs.cluster.cluster
    stage = Stage(cluster.name, [host.name for host in cluster.hosts()])
    if verb == "create":
        assert check_every_stop(stage, stage.scene(), inputs, MAKE) == moments
        return
    assert stage.apply(inputs).ok
    bare = workflow.Inputs(inputs.cluster)
    assert check_every_stop(stage, stage.scene(), bare, DESTROY) >= 19
    assert stage.standing() == {}
