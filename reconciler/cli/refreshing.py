"""Compares hosts with the state for `plan --refresh`."""

from __future__ import annotations

from dataclasses import replace

from reconciler.cli.engines import connecting
from reconciler.cli.interrupt import run_reading
from reconciler.cli.session import Session
from reconciler.plan.model import Plan
from reconciler.state.store import StateReader
from reconciler.workflow import Asked, Inputs
from reconciler.workflow.preflight import changes_plan, occupied_ports, preflight
from reconciler.workflow.refresh import Refreshed, concerning, hosts_of, refresh

__all__ = ["changes_plan", "concerning", "refreshed"]


def refreshed(session: Session, inputs: Inputs, reader: StateReader, planned: Plan, asked: Asked) -> Refreshed:
    """Return how the hosts that a plan concerns differ from the state; refuses hosts as an apply does."""

    async def work() -> Refreshed:
        async with connecting(session, inputs.cluster.cluster) as connector:
            found = await preflight(reader, connector, hosts_of(inputs, planned))
            seen = await refresh(inputs, reader, connector, planned, asked.destroy)
            return replace(seen, occupied=occupied_ports(found))

    return run_reading(work())
