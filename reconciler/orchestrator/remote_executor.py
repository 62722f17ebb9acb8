"""Where calls get their work done: a cluster's file, record and hosts; each call runs the workflow to its end."""

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
"""Seconds to wait for who else changes a slice: callers of a synchronous method expect it to wait its turn."""

ATTEMPTS: Final = 50
"""How often a call plans again because another one has changed the record between its reading and its beginning."""

Approve = Callable[[Plan], None]
"""Looks at a plan before anything is done, and raises Refused where it is not what was called for."""


class RemoteExecutor:
    """The cluster that calls work on.

    `cluster` is its file: else RECONCILER_CLUSTER, else `cluster.yaml` here or in a parent folder. `state` is where its
    record is: else RECONCILER_STATE, else the usual place. `slices` is the folder of slice files: else
    RECONCILER_SLICES, else `slices` in the working folder. Raises UsageError where there is no cluster file.
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

    def inputs(self, *paths: Path, seen_as: Callable[[Cluster], Cluster] | None = None) -> workflow.Inputs:
        """Read the cluster's file, and slices' files; `seen_as` has the last word on what the cluster is like."""
        found = workflow.load(self.cluster_file, paths)
        if seen_as is None:
            return found
        return replace(found, cluster=replace(found.cluster, cluster=seen_as(found.cluster.cluster)))

    def cluster(self) -> Cluster:
        """Read the cluster's file."""
        return self.inputs().cluster.cluster

    @contextmanager
    def record(self) -> Iterator[SqlStore]:
        """Open the cluster's record."""
        with closing(open_state(self.cluster().name, self.state)) as store:
            yield store

    def recorded(self, *scope: SliceKey) -> StateSnapshot:
        """Read what is recorded: of all slices the numbers, of those in scope the resources too."""
        with self.record() as store:
            return store.read(scope)

    def apply(self, inputs: workflow.Inputs, asked: workflow.Asked, approve: Approve) -> None:
        """Apply, as often as it takes until no other call comes between.

        Raises Refused, with the first thing that went wrong in its host's words, where not all is done.
        """
        for left in reversed(range(ATTEMPTS)):
            try:
                return _check(finished(self._apply(inputs, asked, approve)))
            except StateMoved:
                if not left:
                    raise
        return None

    def process_id(self, vm: Resource) -> int:
        """Ask a VM's host for the id of its process; raises HostError where the host does not tell."""
        return finished(_process_id(self.cluster(), vm))

    async def _apply(self, inputs: workflow.Inputs, asked: workflow.Asked, approve: Approve) -> workflow.ApplyResult:
        async with (
            open_engine(inputs.cluster.cluster, self.state, lock_timeout=LOCK_TIMEOUT) as engine,
            await workflow.prepare(engine, inputs, asked) as prepared,
        ):
            approve(prepared.plan)
            return await workflow.perform(prepared)


def finished(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; in a thread of its own where the caller's runs an event loop already."""
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
        raise HostError(vm.host, f"{vm.address} was started, and its process is gone")
    return fact.processes[0].pid


def _check(applied: workflow.ApplyResult) -> None:
    """Raise what kept an apply from doing all that it was to do."""
    report = applied.report
    if report is None or report.ok:
        return
    if report.lock_lost is not None:
        raise report.lock_lost
    raise Refused(_first_trouble(report))


def _first_trouble(report: ApplyReport) -> str:
    """Tell the first step that was not done, in its host's words."""
    for trouble in (*report.failed, *report.unknown):
        message = next(iter(trouble.message.strip().splitlines()), "it gave no reason")
        return f"{trouble.step.address} on {trouble.step.host}: {message}"
    return "interrupted before all was done"
