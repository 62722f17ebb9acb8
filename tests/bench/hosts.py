"""Applies plans to a lab of the bench's own, as the workflow does, and counts what is sent to each host."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from textwrap import shorten
from time import perf_counter

from reconciler import lab as labs
from reconciler import workflow
from reconciler.apply.transport.batch import Batch, BatchEvents
from reconciler.apply.transport.connection import Connection, Progress, Source, Stream
from reconciler.apply.transport.ssh import SshConnector
from reconciler.engine import Engine
from reconciler.spec.models.names import HostName, SliceKey
from reconciler.state.sql.store import open_store
from reconciler.state.store import Holder, StateStore

HOLDER = Holder("bench", "here", os.getpid())


@contextmanager
def lab(workers: int) -> Iterator[labs.LabInfo]:
    """Give a lab for this bench only, and remove it."""
    name = f"bench-{os.getpid()}"
    try:
        yield labs.up(name, workers, report=_ignore)
    finally:
        labs.down(name, report=_ignore)


def _ignore(line: str) -> None:
    """Ignore progress: the bench prints figures only."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How many batches each host got: those that only read, and those that may change something."""

    probes: Counter[HostName] = field(default_factory=Counter)
    works: Counter[HostName] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Counting:
    """A connector that counts the batches which pass through it."""

    connector: SshConnector
    sent: Sent = field(default_factory=Sent)

    async def connect(self, host: HostName) -> Connection:
        """Connect as the connector below does."""
        return _Counted(await self.connector.connect(host), self.sent)

    async def close(self) -> None:
        """End every connection."""
        await self.connector.close()


@dataclass(frozen=True, slots=True)
class _Counted:
    connection: Connection
    sent: Sent

    @property
    def host(self) -> HostName:
        return self.connection.host

    def run(self, batch: Batch) -> BatchEvents:
        (self.sent.probes if batch.lock.shared else self.sent.works)[self.host] += 1
        return self.connection.run(batch)

    async def put(self, source: Source, path: str, progress: Progress | None = None, *, private: bool = False) -> None:
        await self.connection.put(source, path, progress, private=private)

    def get(self, path: str) -> AbstractAsyncContextManager[Stream]:
        return self.connection.get(path)

    def forward(self, path: str) -> AbstractAsyncContextManager[Path]:
        return self.connection.forward(path)


@dataclass(frozen=True, slots=True)
class Went:
    """How an apply went: its seconds from reading the state to the last result written, and what it sent."""

    seconds: float
    sent: Sent


def apply(cluster: Path, state: Path, *paths: Path, destroy: tuple[SliceKey, ...] = ()) -> Went:
    """Apply slice files, or destroy slices, over SSH; all of it must succeed."""
    inputs = workflow.load(cluster, paths)
    started = perf_counter()
    with closing(open_store(state, cluster=inputs.cluster.cluster.name, clock=lambda: datetime.now(UTC))) as store:
        done, sent = asyncio.run(_apply(inputs, store, destroy))
    if not done.ok:
        raise RuntimeError(f"the apply of the bench failed: {shorten(str(done.report), 2000)}")
    return Went(perf_counter() - started, sent)


async def _apply(
    inputs: workflow.Inputs, store: StateStore, destroy: tuple[SliceKey, ...]
) -> tuple[workflow.ApplyResult, Sent]:
    connector = Counting(SshConnector(inputs.cluster.cluster))
    asked = workflow.Asked(destroy=destroy)
    try:
        done = await workflow.apply(Engine(store, connector, HOLDER), inputs, asked)
    finally:
        await connector.close()
    return done, connector.sent
