"""VMLauncher: starts and stops one VM of a slice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.orchestrator.answers import Refused, returns_answer
from reconciler.orchestrator.locked_slice import LockedSlice
from reconciler.orchestrator.lookup import locked_vm, resources_of_vm
from reconciler.orchestrator.remote_executor import RemoteExecutor
from reconciler.plan.resources import Vm, address
from reconciler.spec.models.names import VmName


class VMLauncher:
    """Single VMs; `vm_dict` is a VM as the orchestrator returns it, and is identified by its `vm_id`."""

    def __init__(self, executor: RemoteExecutor) -> None:
        self.executor = executor

    @returns_answer
    def launch_vm(self, worker_ip: str, vm_dict: Mapping[str, Any]) -> int:
        """Start a VM with everything it needs, including its links' routers; returns its process id on its worker."""
        with locked_vm(self.executor, vm_dict) as (work, name):
            _same_worker(work, name, worker_ip)
            vm_address = address(Vm, f"{work.key}/{name}")
            work.apply(only=[vm_address])
            vm = work.snapshot().resources[vm_address].resource
            return self.executor.process_id(vm)

    @returns_answer
    def stop_vm(self, worker_ip: str, vm_dict: Mapping[str, Any]) -> str:
        """Stop a VM and delete its TAPs; it keeps its overlay, its numbers and its worker."""
        with locked_vm(self.executor, vm_dict) as (work, name):
            _same_worker(work, name, worker_ip)
            deleted = [one.address for one in resources_of_vm(work, name) if one.runtime]
            work.apply(only=(), without=deleted)
        return "VM stopped"


def _same_worker(work: LockedSlice, name: VmName, worker_ip: str) -> None:
    cluster, _ = work.files()
    worker = cluster.host(work.snapshot().allocations[work.key].vms[name].worker)
    if str(worker.address) != worker_ip:
        raise Refused(f"VM {name} is on {worker.address}, not on {worker_ip}")
