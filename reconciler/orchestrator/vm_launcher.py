"""VMLauncher: starts and stops one VM of a slice, by the same plan as all else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.orchestrator.answers import Refused, answered
from reconciler.orchestrator.numbered import owned_by_vm, vm_at_work
from reconciler.orchestrator.remote_executor import RemoteExecutor
from reconciler.orchestrator.slice_at_work import SliceAtWork
from reconciler.plan.resources import Port, Vm, address
from reconciler.spec.models.names import VmName


class VMLauncher:
    """VMs one by one; `vm_dict` is one as the orchestrator returns it, and is told apart by its `vm_id`."""

    def __init__(self, executor: RemoteExecutor) -> None:
        self.executor = executor

    @answered
    def launch_vm(self, worker_ip: str, vm_dict: Mapping[str, Any]) -> int:
        """Start a VM with all that it needs, its links' routers too; returns its process id on its worker."""
        with vm_at_work(self.executor, vm_dict) as (work, name):
            _same_worker(work, name, worker_ip)
            where = address(Vm, f"{work.key}/{name}")
            work.follow(only=[where])
            vm = work.recorded().resources[where].resource
            return self.executor.process_id(vm)

    @answered
    def stop_vm(self, worker_ip: str, vm_dict: Mapping[str, Any]) -> str:
        """End a VM's process and take its TAPs off the switch; its overlay, its numbers and its place stay its own."""
        with vm_at_work(self.executor, vm_dict) as (work, name):
            _same_worker(work, name, worker_ip)
            going = [one.address for one in owned_by_vm(work, name) if isinstance(one, Vm | Port)]
            work.follow(only=(), without=going)
        return "VM stopped"


def _same_worker(work: SliceAtWork, name: VmName, worker_ip: str) -> None:
    cluster, _ = work.files()
    worker = cluster.host(work.recorded().allocations[work.key].vms[name].worker)
    if str(worker.address) != worker_ip:
        raise Refused(f"VM {name} is on {worker.address}, not on {worker_ip}")
