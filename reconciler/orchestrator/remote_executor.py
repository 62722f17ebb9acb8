"""Runs the work of a call: opens the cluster's files, state and hosts, and runs the workflow to its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeVar

from reconciler import workflow
from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.drivers.vm import VmFact
from reconciler.apply.execution.events import ApplyReport
from reconciler.apply.observation.observe import observe
from reconciler.engine import connecting, open_engine
from reconciler.errors import HostError, StateMoved, UsageError
from reconciler.orchestrator.answers import Refused
from reconciler.orchestrator.slice_folder import FOLDER, SliceFolder
from reconciler.plan.model import Plan
from reconciler.plan.resources import Resource
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import SliceKey
from reconciler.state.sql.store import SqlStore, open_state
from reconciler.trees import find_cluster

T = TypeVar("T")

LOCK_TIMEOUT: Final = 120.0
"""Seconds to wait for another change of a slice; callers of a synchronous method expect it to wait."""

ATTEMPTS: Final = 50
"""How often a call plans again if another call has changed the state between its plan and its begin."""

Approve = Callable[[Plan], None]
"""Called with a plan before it is performed; raises Refused if the plan does more than the call may do."""


class RemoteExecutor:
    """The cluster that calls work on.

    `cluster` is its file; the default is RECONCILER_CLUSTER, else `cluster.yaml` here or in a parent folder. `state` is
    the location of its state; the default is RECONCILER_STATE, else the location of the command line. `slices` is the
    folder of slice files; the default is RECONCILER_SLICES, else `slices` in the working folder. Raises UsageError if
    there is no cluster file.
    """

    def __init__(
        self,
        cluster: str | PathLike[str] | None = None,
        state: str | PathLike[str] | None = None,
        slices: str | PathLike[str] | None = None,
    ) -> None:
        found = cluster or os.environ.get("RECONCILER_CLUSTER") or find_cluster(Path.cwd())
        if found is None:
            raise UsageError(
                "no cluster file: neither RECONCILER_CLUSTER nor a cluster.yaml here or in a parent folder",
                hint="`reconciler init` writes one; RemoteExecutor(cluster=...) names another",
            )
        self.cluster_file = Path(found).absolute()
        self.state = str(state or os.environ.get("RECONCILER_STATE") or "") or None
        self.slices = SliceFolder(Path(slices or os.environ.get("RECONCILER_SLICES") or FOLDER))

    def inputs(self, *paths: Path, adjust: Callable[[Cluster], Cluster] | None = None) -> workflow.Inputs:
        """Read the cluster file and slice files; `adjust` may change the cluster that was read."""
        found = workflow.load(self.cluster_file, paths)
        if adjust is None:
            return found
        return replace(found, cluster=replace(found.cluster, cluster=adjust(found.cluster.cluster)))

    def cluster(self) -> Cluster:
        """Read the cluster file."""
        return self.inputs().cluster.cluster

    @contextmanager
    def open_state(self) -> Iterator[SqlStore]:
        """Open the cluster's state."""
        with closing(open_state(self.cluster(), self.state)) as store:
            yield store

    def snapshot(self, *scope: SliceKey) -> StateSnapshot:
        """Read the state: the numbers of all slices, and the resources of those in scope."""
        with self.open_state() as store:
            return store.read(scope)

    def apply(self, inputs: workflow.Inputs, asked: workflow.Asked, approve: Approve) -> None:
        """Apply, and plan again if another call changed the state in between.

        Raises Refused with the first failed step and its host's message if not every step is done.
        """
        for left in reversed(range(ATTEMPTS)):
            try:
                return _check(run_to_end(self._apply(inputs, asked, approve)))
            except StateMoved:
                if not left:
                    raise
        return None

    def process_id(self, vm: Resource) -> int:
        """Ask a VM's host for the VM's process id; raises HostError if the host has none."""
        return run_to_end(_process_id(self.cluster(), vm))

    async def _apply(self, inputs: workflow.Inputs, asked: workflow.Asked, approve: Approve) -> workflow.ApplyResult:
        async with (
            open_engine(inputs.cluster.cluster, self.state, lock_timeout=LOCK_TIMEOUT) as engine,
            await workflow.prepare(engine, inputs, asked) as prepared,
        ):
            approve(prepared.plan)
            return await workflow.perform(prepared)


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; in another thread if the caller's thread already runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def _process_id(cluster: Cluster, vm: Resource) -> int:
    async with connecting(cluster) as connector:
        observed = await observe(connector, [vm], DRIVERS)
    if (obstacle := observed.obstacle(vm)) is not None:
        raise obstacle
    fact = observed.facts[vm.host, vm.address]
    if not isinstance(fact, VmFact) or not fact.processes:
        raise HostError(vm.host, f"{vm.address} was started, but its process has ended")
    return fact.processes[0].pid


def _check(applied: workflow.ApplyResult) -> None:
    """Raise an error if an apply did not do every step."""
    report = applied.report
    if report is None or report.ok:
        return
    if report.lock_lost is not None:
        raise report.lock_lost
    raise Refused(_first_problem(report))


def _first_problem(report: ApplyReport) -> str:
    """Return the first step that was not done, with its host's message."""
    for trouble in (*report.failed, *report.unknown):
        message = next(iter(trouble.message.strip().splitlines()), "it gave no reason")
        return f"{trouble.step.address} on {trouble.step.host}: {message}"
    return "interrupted before every step was done"
