"""The event loop never waits for the state: an apply goes on while another process holds the database."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest
from sqlalchemy import event

from reconciler import workflow
from reconciler.apply.execution.events import ApplyReport, Event
from reconciler.errors import StateLocked
from reconciler.plan.model import Step
from reconciler.plan.snapshot import SHARED
from reconciler.simulation.cluster import SimulatedCluster
from reconciler.spec.models.names import SliceKey
from reconciler.state.locks.leases import LockWait, hold
from reconciler.state.locks.ttl import TTL
from reconciler.state.sql.store import SqlStore, open_store
from reconciler.state.store import ApplyId, Holder, Lock
from reconciler.state.worker import StateWorker
from reconciler.workflow.simulate import engine_of
from tests.contracts.conftest import Clock, Database
from tests.contracts.states import ANNA, LAB1

ROOT = Path(__file__).parents[2]
SLICE = SliceKey("admin/two-vms")
BLOCKED = 5.0
"""For how many seconds another process holds the database."""

LEASE = timedelta(seconds=9)
"""The time to live of a lease that must outlast this, renewed every 1.5 s."""

SOON = 2.0
"""Within how many seconds a renewal is written once the database is free; other writes come between."""

STALL = 0.5
"""The longest time, in seconds, that the event loop may not run."""


class Writer(threading.Thread):
    """Holds SQLite's write lock for a while, as another process would."""

    def __init__(self, file: Path, seconds: float) -> None:
        super().__init__(daemon=True)
        self.file, self.seconds = file, seconds
        self.holds = threading.Event()
        self.began = self.ended = 0.0
        self.on_hold: Callable[[], object] = self.holds.set

    def run(self) -> None:
        with closing(sqlite3.connect(self.file, isolation_level=None, timeout=10)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            self.began = time.monotonic()
            self.holds.set()
            self.on_hold()
            time.sleep(self.seconds)
            self.ended = time.monotonic()
            connection.execute("ROLLBACK")


@dataclass(frozen=True)
class Renewal:
    """A renewal of leases: the thread that did it, when it began, and when it was written."""

    thread: str
    began: float
    ended: float


class Blocking(SqlStore):
    """A store whose database is held by a writer once the first intents are written; it notes each renewal."""

    writer: Writer
    renewals: list[Renewal]

    @classmethod
    def of(cls, site: Site, opened: SqlStore, ttl: timedelta = TTL) -> Blocking:
        """Return a store on the database of another one."""
        store = cls(opened._engine, opened._place, Clock(), read_only=False, ttl=ttl)
        store.writer, store.renewals = site.writer, []
        return store

    def renew(self, taken: Collection[Lock]) -> None:
        began = time.monotonic()
        super().renew(taken)
        self.renewals.append(Renewal(threading.current_thread().name, began, time.monotonic()))

    def intend(self, apply: ApplyId, steps: Sequence[Step]) -> None:
        super().intend(apply, steps)
        if not self.writer.holds.is_set():
            self.writer.start()
            assert self.writer.holds.wait(10)


class Stalls:
    """Measures the longest time for which an event loop did not run, although another thread of the process did."""

    TICK = 0.02

    def __init__(self) -> None:
        self.longest = self._missed = 0.0
        self._over = threading.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._beat())
        threading.Thread(target=self._count, daemon=True).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        self._task.cancel()

    async def _beat(self) -> None:
        while True:
            self._missed = 0.0
            await asyncio.sleep(self.TICK)

    def _count(self) -> None:
        while not self._over.wait(self.TICK):
            self._missed += self.TICK
            self.longest = max(self.longest, self._missed)


class Site:
    """A state in a SQLite file, a slice to apply, simulated hosts, and a writer of another process."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "state.db"
        self.database = Database(f"sqlite:///{self.file}")
        self.inputs = workflow.load(ROOT / "examples/cluster.yaml", [ROOT / "examples/topologies/two-vms.yaml"])
        names = [host.name for host in self.inputs.cluster.cluster.hosts()]
        self.hosts = SimulatedCluster(names)
        self.events: list[float] = []
        self.stalls = Stalls()
        self.writer = Writer(self.file, BLOCKED)

    async def apply(self, store: SqlStore) -> ApplyReport | None:
        def observe(_event: Event) -> None:
            self.events.append(time.monotonic())

        engine = replace(engine_of(self.hosts, store), observer=observe)
        async with self.stalls:
            return (await workflow.apply(engine, self.inputs)).report


def test_hosts_and_events_go_on_while_the_journal_waits(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with closing(site.database.open(cluster="campus")) as opened:
        store = Blocking.of(site, opened)
        report = asyncio.run(site.apply(store))
        finished = time.monotonic()
        site.writer.join()
        assert report is not None
        assert report.ok
        assert [(entry.result, entry.done) for entry in store.history()] == [("done", len(report.done))]
    assert finished > site.writer.ended > 0, "the apply did not wait for the database"
    assert [at for at in site.events if site.writer.began < at < site.writer.ended], "no event while it was held"
    assert site.stalls.longest < STALL


class Rival(threading.Thread):
    """Waits for the locks of an apply as another process would, and takes over a lease that has expired."""

    def __init__(self, site: Site, ttl: timedelta) -> None:
        super().__init__(daemon=True)
        self.site, self.ttl = site, ttl
        self.took = 0.0

    def run(self) -> None:
        asyncio.run(self._take())

    async def _take(self) -> None:
        wait = LockWait(30, lambda _message: None, asyncio.Event())
        opened = open_store(self.site.database.where, cluster="campus", clock=Clock(), ttl=self.ttl)
        worker = StateWorker()
        with closing(opened) as store, closing(worker):
            async with hold(store, [SHARED, SLICE], Holder("ben", "ctl2", 7), wait, worker):
                self.took = time.monotonic()


def test_a_renewal_waits_for_a_writer_beside_the_loop_and_no_lease_expires_meanwhile(tmp_path: Path) -> None:
    site = Site(tmp_path)
    rival = Rival(site, LEASE)
    with closing(site.database.open(cluster="campus")) as opened:
        store = Blocking.of(site, opened, LEASE)
        site.writer.on_hold = rival.start
        report = asyncio.run(site.apply(store))
        finished = time.monotonic()
        site.writer.join()
        rival.join(30)
        assert report is not None
        assert report.ok
        assert report.lock_lost is None
        assert [entry.result for entry in store.history()] == ["done"]
    waited = [one for one in store.renewals if site.writer.began < one.began < site.writer.ended]
    assert {one.thread for one in waited} == {"leases"}, "no renewal waits in a thread of its own"
    assert all(site.writer.ended < one.ended < site.writer.ended + SOON for one in waited), "not once it was free"
    assert max(one.ended for one in waited) < rival.took, "a lease expired while the database was held"
    assert rival.took > finished - STALL, "the apply lost its locks"
    assert [at for at in site.events if site.writer.began < at < site.writer.ended], "no event while it was held"
    assert site.stalls.longest < STALL


def test_the_loop_runs_while_an_apply_waits_to_take_its_locks(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with closing(site.database.open(cluster="campus")) as store:
        site.writer.start()
        assert site.writer.holds.wait(10)
        report = asyncio.run(site.apply(store))
        assert time.monotonic() > site.writer.ended > 0, "the apply did not wait for the database"
        assert report is not None
        assert report.ok
        assert store.locks() == ()
    assert site.stalls.longest < STALL


def test_no_statement_of_an_apply_runs_in_the_thread_of_the_loop(tmp_path: Path) -> None:
    site, threads = Site(tmp_path), set[str]()
    with closing(site.database.open(cluster="campus")) as store:

        @event.listens_for(store._engine, "before_cursor_execute")
        def note(*_: object) -> None:
            threads.add(threading.current_thread().name)

        report = asyncio.run(site.apply(store))
    assert report is not None
    assert report.ok
    assert "state_0" in threads
    assert threading.main_thread().name not in threads


def test_calls_run_in_order_and_return_what_they_return() -> None:
    worker, order = StateWorker(), list[int]()

    def call(number: int) -> int:
        time.sleep(0.01 * (3 - number))
        order.append(number)
        return number

    async def run() -> list[int]:
        return await asyncio.gather(*(worker.run(call, number) for number in range(3)))

    assert asyncio.run(run()) == order == [0, 1, 2]
    worker.close()


def test_a_cancelled_call_ends_before_its_task_does() -> None:
    worker, ended = StateWorker(), threading.Event()

    def call() -> None:
        time.sleep(0.2)
        ended.set()

    async def run() -> bool:
        task = asyncio.ensure_future(worker.run(call))
        await asyncio.sleep(0.05)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return task.cancelled() and ended.is_set()

    assert asyncio.run(run())
    worker.close()


def test_a_lock_that_is_taken_after_its_task_was_cancelled_is_released(tmp_path: Path) -> None:
    site, worker = Site(tmp_path), StateWorker()

    async def run(store: SqlStore, writer: Writer) -> None:
        async def take() -> None:
            async with worker.hold(store.lock([LAB1], ANNA)):
                pytest.fail("the task was cancelled")

        task = asyncio.ensure_future(take())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() > writer.ended > 0

    with closing(site.database.open()) as store:
        writer = Writer(site.file, 0.5)
        writer.start()
        assert writer.holds.wait(10)
        asyncio.run(run(store, writer))
        assert store.locks() == ()
    worker.close()


def test_a_lock_that_another_has_is_refused_in_the_loop_as_elsewhere(tmp_path: Path) -> None:
    site, worker = Site(tmp_path), StateWorker()

    async def run(store: SqlStore) -> None:
        async with worker.hold(store.lock([LAB1], ANNA)):
            with pytest.raises(StateLocked):
                async with worker.hold(store.lock([LAB1], ANNA)):
                    pytest.fail("it was taken twice")

    with closing(site.database.open()) as store:
        asyncio.run(run(store))
        assert store.locks() == ()
    worker.close()
