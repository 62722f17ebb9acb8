"""Asks the workers of a slice how its VMs are; reads only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.observation.observe import observe
from reconciler.apply.transport.connection import Connector
from reconciler.plan.resources.base import GraphRole
from reconciler.plan.resources.vm import RUNNING
from reconciler.spec.models.names import SliceKey, VmName
from reconciler.state.store import StateReader
from reconciler.workflow.refresh import present_resources

HEALTHY, MISSING, UNKNOWN = "healthy", "missing", "unknown"


async def vm_health(reader: StateReader, connector: Connector, key: SliceKey) -> Mapping[VmName, str]:
    """Return, for each VM that the state has as present: healthy, missing, unknown, or the run state of its guest."""
    present = await asyncio.to_thread(present_resources, reader, {key})
    vms = [resource for resource in present if resource.graph_role is GraphRole.NODE]
    observed = await observe(connector, vms, DRIVERS)
    found: dict[VmName, str] = {}
    for vm in vms:
        name, place = VmName(vm.address.rpartition("/")[2]), (vm.host, vm.address)
        seen = observed.attributes.get(place, {})
        state = MISSING if seen is None else str(seen.get("run_state", UNKNOWN))
        found[name] = HEALTHY if state == RUNNING else state
    return found
