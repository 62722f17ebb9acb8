"""Puts slices into the state as if they were applied, without hosts."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from reconciler import workflow
from reconciler.plan.model import Plan
from reconciler.state.location import default_place
from reconciler.state.sql.store import open_store
from tests.contracts.states import perform
from tests.fresh import make_state


def put_applied(project: Path, *files: str) -> Plan:
    """Plan slice files of a project, and put what they describe into its default state; return the plan."""
    inputs = workflow.load(project / "cluster.yaml", [project / file for file in files])
    place = default_place("campus")
    make_state(place, "campus")
    with closing(open_store(place, cluster="campus", clock=lambda: datetime.now(UTC))) as store:
        planned = workflow.plan(inputs, store)
        perform(store, planned)
    return planned
