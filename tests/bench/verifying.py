"""Measures `verify` on a live network: its time, and how that grows with the number of VMs."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from reconciler import lab as labs
from reconciler import workflow
from reconciler.apply.transport.ssh import SshConnector
from reconciler.spec.models.names import slice_key
from reconciler.state.sql.store import open_store
from reconciler.verify.verification import Verification
from reconciler.workflow import verify
from tests.bench import hosts, plain
from tests.bench.figures import Figure, timed
from tests.bench.topologies import slice_text

_WORKERS = 3
_PROMISED = 30
"""The number of VMs for which a time is promised."""


def verify_slices(lab: labs.LabInfo, folder: Path, sizes: tuple[int, ...], times: int) -> list[Figure]:
    """Verify rings of paused guests on three workers, and compare the largest with the smallest."""
    taken = {size: _verified(lab.cluster_file, folder, size, times) for size in sizes}
    figures = [_figure(size, seconds, result) for size, (seconds, result) in taken.items()]
    small, large = min(sizes), max(sizes)
    growth = taken[large][0] / taken[small][0]
    note = f"{large / small:.0f} times as many VMs; pairs grow with their square"
    return [*figures, Figure(f"verify of {large} VMs, against {small}", growth, "times", large / small, note=note)]


def _verified(cluster: Path, folder: Path, size: int, times: int) -> tuple[float, Verification]:
    """Return the seconds that a verification takes, with connecting, and its result."""
    name = f"ring{size}"
    path, state = folder / f"{name}.yaml", folder / f"{name}.db"
    path.write_text(slice_text(name, size, (1,)).replace("flavor: cirros", "flavor: cirros, internet: true"))
    with plain.collected({}):
        hosts.apply(cluster, state, path)
    results: list[Verification] = []
    seconds = timed(lambda: results.append(_verify(cluster, state)), times)
    hosts.apply(cluster, state, destroy=(slice_key("admin", name),))
    if any(result.violations for result in results):
        raise RuntimeError(f"the bench's own network is not as declared: {results[0].violations}")
    return seconds, results[0]


def _verify(cluster: Path, state: Path) -> Verification:
    inputs = workflow.load(cluster, ())
    with closing(open_store(state, cluster=inputs.cluster.cluster.name, clock=lambda: datetime.now(UTC))) as store:

        async def run() -> Verification:
            connector = SshConnector(inputs.cluster.cluster)
            try:
                return await verify.verify(inputs, store, connector)
            finally:
                await connector.close()

        return asyncio.run(run())


def _figure(size: int, seconds: float, result: Verification) -> Figure:
    pairs = result.present + result.absent + result.routed.present + result.routed.absent
    target = 5.0 if size == _PROMISED else None
    note = f"{pairs} pairs, {result.dropped} forged frames"
    return Figure(f"verify of {size} VMs on {_WORKERS} workers", seconds, "s", target, note=note)
