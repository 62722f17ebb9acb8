"""Many planners at once: one wins each serial, and no number is lost, on each database."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.errors import StateMoved
from reconciler.plan.snapshot import (
    SliceAllocation,
)
from reconciler.spec.models.names import SliceId, SliceKey
from reconciler.state.sql.store import SqlStore, open_store
from tests.contracts.conftest import Database
from tests.contracts.states import (
    ANNA,
    plan,
)

WORKERS, ROUNDS = 8, 4

pytestmark = pytest.mark.slow


def test_processes_that_open_it_at_once_make_one_state(database: Database) -> None:
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(_lineage, database.where) for _ in range(6)]
        lineages = {run.result(timeout=120) for run in runs}
    store = database.open()
    assert lineages == {store.read().lineage}
    store.close()


def test_threads_that_open_it_at_once_make_one_state(database: Database) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        lineages = set(pool.map(_lineage, [database.where] * WORKERS))
    store = database.open()
    assert lineages == {store.read().lineage}
    store.close()


def test_threads_win_one_serial_each(database: Database, store: SqlStore) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        runs = [pool.submit(_count_up, database.where, worker) for worker in range(WORKERS)]
        check_race(store, [number for run in runs for number in run.result(timeout=120)])


def test_processes_win_one_serial_each(database: Database, store: SqlStore) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(_count_up, database.where, worker) for worker in range(WORKERS)]
        check_race(store, [number for run in runs for number in run.result(timeout=120)])


def test_threads_that_share_a_store_win_one_serial_each(store: SqlStore) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        runs = [pool.submit(_give, store, worker) for worker in range(WORKERS)]
        check_race(store, [number for run in runs for number in run.result(timeout=120)])


def check_race(store: SqlStore, given: list[int]) -> None:
    """Check that every id was given once, snapshot, and that each begin left its line in history."""
    total = WORKERS * ROUNDS
    snapshot = store.read()
    assert sorted(given) == list(range(1000, 1000 + total))
    assert snapshot.serial == total
    assert snapshot.counters.slice_id == 1000 + total
    assert sorted(found.id for found in snapshot.allocations.values()) == sorted(given)
    assert [entry.id for entry in store.history(limit=2 * total)] == list(range(total, 0, -1))


def _lineage(where: str) -> str:
    store = open_store(where, cluster="lab", clock=lambda: datetime.now(UTC))
    try:
        return store.read().lineage
    finally:
        store.close()


def _count_up(where: str, worker: int) -> list[int]:
    store = open_store(where, cluster="lab", clock=lambda: datetime.now(UTC))
    try:
        return _give(store, worker)
    finally:
        store.close()


def _give(store: SqlStore, worker: int) -> list[int]:
    """Give out a slice id ROUNDS times, planning again whenever another was first."""
    given: list[int] = []
    while len(given) < ROUNDS:
        snapshot = store.read()
        number = snapshot.counters.slice_id
        wanted = {SliceKey(f"w{worker}/s{len(given)}"): SliceAllocation(number, ())}
        counters = replace(snapshot.counters, slice_id=SliceId(number + 1))
        try:
            store.begin(replace(plan(store, wanted, counters=counters), serial=snapshot.serial), ANNA, "")
        except StateMoved:
            continue
        given.append(number)
    return given
