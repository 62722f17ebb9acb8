"""Two processes that apply as fast as they can, and one that reads all the while: nothing is lost, on each database."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.errors import StateMoved
from reconciler.plan.snapshot import SliceAllocation, Status
from reconciler.spec.models.names import SliceId, SliceKey
from reconciler.state.sql.store import SqlStore, open_store
from tests.contracts.conftest import Database
from tests.contracts.states import ANNA, done, plan, router, steps

WRITERS, APPLIES, TRANSACTIONS = 2, 125, 4
TOTAL = WRITERS * APPLIES


@pytest.mark.slow
def test_a_thousand_transactions_of_two_processes_all_count(database: Database, store: SqlStore) -> None:
    with ProcessPoolExecutor(WRITERS + 1, mp_context=multiprocessing.get_context("spawn")) as pool:
        reader = pool.submit(_watch, database.where)
        writers = [pool.submit(_apply, database.where, number) for number in range(WRITERS)]
        given = [number for writer in writers for number in writer.result(timeout=120)]
        assert reader.result(timeout=120) > 1

    snapshot = store.read()
    history = store.history(limit=2 * TOTAL)
    assert TOTAL * TRANSACTIONS == snapshot.serial == 1000
    assert sorted(given) == list(range(1000, 1000 + TOTAL)), "no number was given twice, none was left out"
    assert sorted(found.id for found in snapshot.allocations.values()) == sorted(given)
    assert {entry.status for entry in snapshot.resources.values()} == {Status.PRESENT}
    assert {entry.resource.slice for entry in snapshot.resources.values()} == set(snapshot.allocations)
    assert [entry.id for entry in history] == list(range(TOTAL, 0, -1))
    assert {(entry.result, entry.done) for entry in history} == {("done", 1)}
    again = database.open()  # which checks every page of a file
    assert again.read() == snapshot
    again.close()


def _apply(where: str, writer: int) -> list[int]:
    """Apply one new slice after another, planning again whenever the other process was first."""
    store = open_store(where, cluster="lab", clock=lambda: datetime.now(UTC))
    given: list[int] = []
    while len(given) < APPLIES:
        snapshot = store.read(())
        number = snapshot.counters.slice_id
        key = SliceKey(f"w{writer}/s{len(given)}")
        todo = steps((None, router(key)))
        counters = replace(snapshot.counters, slice_id=SliceId(number + 1))
        made = plan(store, {key: SliceAllocation(number, ())}, todo=todo, counters=counters)
        try:
            apply = store.begin(replace(made, serial=snapshot.serial), ANNA, "digest")
        except StateMoved:
            continue
        store.intend(apply, todo)
        store.record(apply, done(todo))
        store.finish(apply, "done", 0)
        given.append(number)
    store.close()
    return given


def _watch(where: str) -> int:
    """Read until all is there, and see that every read sees one moment; return how many were read."""
    store = open_store(where, cluster="lab", clock=lambda: datetime.now(UTC), read_only=True)
    reads, serial, ended = 0, 0, False
    while not ended:
        snapshot = store.read()
        ids = [found.id for found in snapshot.allocations.values()]
        assert snapshot.serial >= serial
        assert sorted(ids) == list(range(1000, snapshot.counters.slice_id))
        assert {entry.resource.slice for entry in snapshot.resources.values()} <= set(snapshot.allocations)
        reads, serial = reads + 1, snapshot.serial
        ended = serial == TOTAL * TRANSACTIONS
    store.close()
    return reads
