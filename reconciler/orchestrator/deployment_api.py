"""DeploymentAPI: gives the orchestrator its executor, and removes the overlay of one VM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.orchestrator.answers import Refused, returns_answer
from reconciler.orchestrator.lookup import locked_vm, resources_of_vm
from reconciler.orchestrator.remote_executor import RemoteExecutor
from reconciler.plan.resources import Vm, address


class DeploymentAPI:
    """The deployment of the orchestrator; `executor` has the cluster, its state and the slice files."""

    def __init__(self, executor: RemoteExecutor) -> None:
        self.executor = executor

    @returns_answer
    def delete_vm_dict(self, vm_dict: Mapping[str, Any]) -> str:
        """Remove the overlay of a stopped VM and its other resources; the VM keeps its numbers."""
        with locked_vm(self.executor, vm_dict) as (work, name):
            if address(Vm, f"{work.key}/{name}") in work.snapshot().resources:
                raise Refused(f"VM {name} is running: stop it first")
            work.apply(only=(), without=[one.address for one in resources_of_vm(work, name)])
        return "VM deleted"
