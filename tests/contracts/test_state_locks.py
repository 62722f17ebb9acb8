"""Locks of slices between threads, processes and hosts, on each database."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing.synchronize import Event

import pytest

from reconciler.errors import StateLocked
from reconciler.plan.snapshot import SHARED, ResourceState, Status
from reconciler.state.sql.store import SqlStore, open_store
from reconciler.state.store import ApplyId, Holder
from tests.contracts.conftest import Database
from tests.contracts.states import (
    ANNA,
    LAB1,
    LAB2,
    allocation,
    plan,
    resource_states,
    router,
    steps,
)


class TestLocks:
    def test_they_are_held_within_the_block(self, store: SqlStore) -> None:
        with store.lock([LAB2, SHARED, LAB1], ANNA) as taken:
            assert [lock.name for lock in taken] == [SHARED, LAB1, LAB2]
            assert store.locks() == taken
            assert all(lock.holder == ANNA for lock in taken)
        assert store.locks() == ()

    def test_they_are_released_when_the_block_raises(self, store: SqlStore) -> None:
        with pytest.raises(RuntimeError, match="boom"), store.lock([LAB1], ANNA):
            raise RuntimeError("boom")
        assert store.locks() == ()

    def test_the_second_process_gets_the_holders_name_and_no_lock(self, opened: Callable[[], SqlStore]) -> None:
        first, second = opened(), opened()
        ben = Holder("ben", "ctl2", 1)
        sentence = (
            rf"^alice/lab1 is being changed by anna on host ctl1 \(pid {ANNA.pid}\) since 2026-11-22 08:01:12 UTC, "
            r"last renewed at 2026-11-22 08:01:12 UTC$"
        )
        with first.lock([LAB1], ANNA):
            with pytest.raises(StateLocked, match=sentence), second.lock([LAB2, LAB1], ben):
                pytest.fail("the lock was given twice")
            assert [lock.name for lock in second.locks()] == [LAB1]
            with second.lock([LAB2], ben):
                assert [lock.name for lock in first.locks()] == [LAB1, LAB2]

    @pytest.mark.slow
    def test_another_process_is_kept_out(self, database: Database, store: SqlStore) -> None:
        with store.lock([LAB1], ANNA), ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            said = pool.submit(_try_lock, database.where).result(timeout=60)
        assert said.startswith(f"alice/lab1 is being changed by anna on host ctl1 (pid {ANNA.pid})")

    def test_tokens_only_grow(self, store: SqlStore) -> None:
        with store.lock([LAB1, LAB2], ANNA) as first:
            pass
        with store.lock([LAB1], ANNA) as second:
            assert second[0].token > max(lock.token for lock in first)

    def test_the_lock_of_a_process_that_ended_is_taken_over(self, store: SqlStore) -> None:
        ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        with store.lock([LAB1], Holder("anna", "ctl1", ended.pid)):
            with pytest.raises(StateLocked), store.lock([LAB1], ANNA):
                pytest.fail("its holder is alive")
            ended.communicate(b"\n")
            with store.lock([LAB1], ANNA) as taken:
                assert [lock.holder for lock in store.locks()] == [ANNA]
                assert taken[0].holder == ANNA
            assert store.locks() == ()

    @pytest.mark.slow
    def test_a_killed_process_leaves_its_intents_and_a_lock_to_take_over(
        self, database: Database, store: SqlStore
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        ready = spawn.Event()
        process = spawn.Process(target=_work_until_killed, args=(database.where, ready))
        process.start()
        assert ready.wait(timeout=60)
        with pytest.raises(StateLocked), store.lock([LAB1], ANNA):
            pytest.fail("its holder is alive")
        process.kill()
        process.join()
        with store.lock([LAB1], ANNA):
            assert resource_states(store) == {router().address: ResourceState(router(), Status.CREATING)}
            assert [entry.status for entry in store.journal(ApplyId(1))] == [None]
            assert store.history()[0].finished is None

    def test_a_lost_lock_is_not_released_from_under_its_new_holder(self, store: SqlStore) -> None:
        with store.lock([LAB1], ANNA):
            removed = store.force_unlock(LAB1)
            assert removed is not None
            assert removed.holder == ANNA
            new = store.lock([LAB1], Holder("ben", "ctl2", 1))
            new.__enter__()
        assert [lock.holder.user for lock in store.locks()] == ["ben"]
        new.__exit__(None, None, None)

    def test_the_lock_of_another_host_is_never_taken_over(self, store: SqlStore) -> None:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        with (
            store.lock([LAB1], Holder("anna", "elsewhere", ended.pid)),
            pytest.raises(StateLocked, match="elsewhere"),
            store.lock([LAB1], ANNA),
        ):
            pytest.fail("its holder may be alive")

    def test_unlocking_a_lock_that_is_not_held_returns_nothing(self, store: SqlStore) -> None:
        assert store.force_unlock(LAB1) is None


def _work_until_killed(where: str, ready: Event) -> None:
    store = open_store(where, cluster="lab", clock=lambda: datetime.now(UTC))
    todo = steps((None, router()))
    holder = Holder("ben", "ctl1", os.getpid())
    with store.lock([LAB1], holder):
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), holder, "")
        store.intend(apply, todo)
        ready.set()
        threading.Event().wait()


def _try_lock(where: str) -> str:
    store = open_store(where, cluster="lab", clock=lambda: datetime.now(UTC))
    try:
        with store.lock([LAB1], Holder("ben", "ctl1", os.getpid())):
            return "given"
    except StateLocked as error:
        return error.summary
    finally:
        store.close()
