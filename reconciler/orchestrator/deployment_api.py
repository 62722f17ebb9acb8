"""DeploymentAPI: the way from the orchestrator to where work is done, and the removal of one VM's overlay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.orchestrator.answers import Refused, answered
from reconciler.orchestrator.numbered import owned_by_vm, vm_at_work
from reconciler.orchestrator.remote_executor import RemoteExecutor
from reconciler.plan.resources import Vm, address


class DeploymentAPI:
    """What a deployment works with: `executor` knows the cluster, its record and the slices' files."""

    def __init__(self, executor: RemoteExecutor) -> None:
        self.executor = executor

    @answered
    def delete_vm_dict(self, vm_dict: Mapping[str, Any]) -> str:
        """Remove the overlay of a VM that does not run, and what else stands of it; it keeps its numbers."""
        with vm_at_work(self.executor, vm_dict) as (work, name):
            if address(Vm, f"{work.key}/{name}") in work.recorded().resources:
                raise Refused(f"VM {name} is running: stop it first")
            work.follow(only=(), without=[one.address for one in owned_by_vm(work, name)])
        return "VM deleted"
