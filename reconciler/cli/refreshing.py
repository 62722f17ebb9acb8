"""Compares hosts with the state for `plan --refresh`."""

from __future__ import annotations

from reconciler.cli.engines import connecting
from reconciler.cli.interrupt import run_reading
from reconciler.cli.session import Session
from reconciler.plan.model import Plan
from reconciler.state.store import StateReader
from reconciler.workflow import Asked, Inputs
from reconciler.workflow.ownership import refuse_foreign_hosts
from reconciler.workflow.refresh import Refreshed, concerning, hosts_of, refresh

__all__ = ["concerning", "refreshed"]


def refreshed(session: Session, inputs: Inputs, reader: StateReader, planned: Plan, asked: Asked) -> Refreshed:
    """Return how the hosts that a plan concerns differ from the state; refuses hosts as an apply does."""

    async def work() -> Refreshed:
        async with connecting(session, inputs.cluster.cluster) as connector:
            await refuse_foreign_hosts(reader, connector, hosts_of(inputs, planned))
            return await refresh(inputs, reader, connector, planned, asked.destroy)

    return run_reading(work())
