"""Applies of different slices that begin at once on one state, of each database: numbers are given to one first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from reconciler import workflow
from reconciler.errors import NumbersTaken, StateMoved
from reconciler.plan.model import Plan
from reconciler.simulation.cluster import SimulatedCluster
from reconciler.simulation.hosts import invariant_violations
from reconciler.spec.models.names import SliceKey
from reconciler.state.sql.store import SqlStore
from reconciler.workflow.simulate import engine_of
from tests.contracts.conftest import Database

ROOT = Path(__file__).parents[2]
TWO_VMS, TRIANGLE = SliceKey("admin/two-vms"), SliceKey("admin/triangle")


class Site:
    """One state, and hosts in memory that every apply works on."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.bare = workflow.load(ROOT / "examples/cluster.yaml", [])
        self.simulated = SimulatedCluster([host.name for host in self.bare.cluster.cluster.hosts()])

    def open(self) -> SqlStore:
        return self.database.open(cluster="campus")

    def apply(
        self,
        name: str | None,
        meanwhile: Callable[[Plan], None] = lambda _: None,
        asked: workflow.Asked = workflow.NOTHING_ELSE,
        shown: list[Plan] | None = None,
    ) -> workflow.ApplyResult:
        """Apply an example with a store of its own, as another process would, and do something while it is reviewed.

        If `shown` is a list, any other numbers are accepted, and the plans with them are added to it.
        """
        inputs = self.inputs(name) if name else self.bare
        with closing(self.open()) as store, asyncio.Runner() as runner:
            prepared = runner.run(workflow.prepare(engine_of(self.simulated, store), inputs, asked))
            try:
                meanwhile(prepared.plan)
                try:
                    return runner.run(workflow.perform(prepared))
                except NumbersTaken:
                    if shown is None:
                        raise
                    again = workflow.renumber(prepared)
                    shown.append(again.plan)
                    return runner.run(workflow.perform(again))
            finally:
                runner.run(prepared.held.aclose())

    def inputs(self, name: str) -> workflow.Inputs:
        return workflow.load(ROOT / "examples/cluster.yaml", [ROOT / f"examples/topologies/{name}.yaml"])

    def overtaken(self, plan: Plan) -> None:
        """Apply another slice from beginning to end while a plan is reviewed; no event loop runs meanwhile."""
        assert plan.slices != (TRIANGLE,)
        assert self.apply("triangle").ok


@pytest.fixture
def site(database: Database) -> Site:
    return Site(database)


def test_other_numbers_that_are_accepted_are_used(site: Site) -> None:
    shown: list[Plan] = []
    applied = site.apply("two-vms", site.overtaken, shown=shown)
    assert applied.ok
    assert applied.renumbered
    assert shown == [applied.plan]
    store = site.open()
    snapshot = store.read()
    assert {key: had.id for key, had in snapshot.allocations.items()} == {TRIANGLE: 1000, TWO_VMS: 1001}
    assert all(workflow.plan(site.inputs(name), store).empty for name in ("two-vms", "triangle"))
    store.close()
    assert invariant_violations(site.simulated.hosts) == []
    assert len(site.simulated.objects()) == len(snapshot.resources)


def test_numbers_that_were_approved_are_not_changed_without_approval(site: Site) -> None:
    with pytest.raises(StateMoved) as caught:
        site.apply("two-vms", site.overtaken)
    assert caught.value.summary == "numbers that this plan shows were given to others after it was made"
    assert caught.value.hint == "nothing was changed; run apply again: it shows the plan with new numbers"
    store = site.open()
    assert store.read().allocations.keys() == {TRIANGLE}
    store.close()
    assert site.apply("two-vms").ok


def test_what_is_more_than_numbers_is_never_done_instead(site: Site) -> None:
    assert site.apply("two-vms").ok
    shown: list[Plan] = []
    # Two slices share images now: what goes with the last of them is not to go any more.
    with pytest.raises(StateMoved, match="what slices share has changed since the plan was made"):
        site.apply(None, site.overtaken, workflow.Asked(destroy=(TWO_VMS,)), shown)
    assert shown == []
    assert site.apply(None, asked=workflow.Asked(destroy=(TWO_VMS,))).ok
