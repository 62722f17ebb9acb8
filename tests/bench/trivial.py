"""Performs many trivial steps on every host of a cluster in this one process, with its state in SQLite."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from reconciler.apply.drivers.driver import Driver
from reconciler.apply.execution.events import ApplyReport
from reconciler.apply.execution.executor import execute
from reconciler.apply.transport.command import Command, Operation, Result
from reconciler.apply.transport.ssh import SshConnector
from reconciler.plan.model import Action, Change, Counts, Plan, Step, StepId
from reconciler.plan.resources import Disk, address
from reconciler.plan.snapshot import Counters
from reconciler.spec.load import load_cluster
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, Bytes, HostName
from reconciler.state.sql.store import open_store
from reconciler.state.store import Holder, StateStore
from reconciler.state.worker import StateWorker
from reconciler.trees import DISK
from reconciler.workflow.journal import StoreJournal

_NOTHING = Command(("/bin/true",))


def _probe(_disks: Sequence[Disk]) -> tuple[Command, ...]:
    return (_NOTHING,)


def _parse(disks: Sequence[Disk], _results: Sequence[Result]) -> Mapping[Address, bool]:
    return {disk.address: False for disk in disks}


def _ensure(_disk: Disk, _fact: bool, _before: Disk | None) -> tuple[Operation, ...]:
    return (_NOTHING,)


def _remove(_disk: Disk, _fact: bool) -> tuple[Operation, ...]:
    return (_NOTHING,)


def _observed(_disk: Disk, _fact: bool) -> None:
    return None


DRIVER = Driver(Disk, _probe, _parse, _ensure, _remove, _observed)
"""Takes one command for each resource that does nothing, so that what is measured is the cost of steps themselves."""


def _steps(cluster: Cluster, count: int) -> tuple[Step, ...]:
    hosts = [HostName(host.name) for host in cluster.hosts()]
    disks = [
        Disk(
            address=address(Disk, f"trivial{number}@{host}"),
            slice=None,
            host=host,
            path=f"/{number}",
            backing="/",
            size=Bytes(1),
        )
        for host in hosts
        for number in range(count)
    ]
    return tuple(
        Step(StepId(number), Action.CREATE, disk.address, disk.host, None, disk) for number, disk in enumerate(disks, 1)
    )


async def _perform(cluster: Cluster, store: StateStore, steps: tuple[Step, ...]) -> ApplyReport:
    snapshot = store.read(())
    changes = tuple(Change(Action.CREATE, step.address, None, step.after, "") for step in steps)
    plan = Plan("", snapshot.lineage, snapshot.serial, (), changes, steps, Counts(), Counters(), {})
    number = store.begin(plan, Holder("bench", "here", 1), "")
    connector = SshConnector(cluster)
    try:
        report = await execute(
            steps,
            connector=connector,
            journal=StoreJournal(store, number, StateWorker()),
            drivers={Disk.kind: DRIVER},
            uploads={},
            parallelism=10,
            observer=lambda _: None,
            stop=asyncio.Event(),
            monotonic=time.monotonic,
        )
    finally:
        await connector.close()
    store.finish(number, "done" if report.ok else "failed", len(report.skipped))
    return report


def main(cluster_file: Path, count: int, state: Path) -> int:
    """Perform the steps; returns 0 if all are done."""
    cluster = load_cluster(DISK, cluster_file).cluster
    with closing(open_store(state, cluster=cluster.name, clock=lambda: datetime.now(UTC))) as store:
        report = asyncio.run(_perform(cluster, store, _steps(cluster, count)))
    sys.stdout.write(f"{len(report.done)}\n")
    return 0 if report.ok else 1
