"""Leases on each database: watched without any wall clock, renewed, taken over, and refused to a former holder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest

from reconciler.errors import StateError, StateLocked, StateLost
from reconciler.plan.snapshot import SHARED
from reconciler.state.locks.leases import LockWait, Watch, hold, renewed
from reconciler.state.sql.store import SqlStore, open_store
from reconciler.state.store import Holder, Life, Lock
from reconciler.state.worker import StateWorker
from tests.contracts.conftest import Database
from tests.contracts.states import ANNA, LAB1, LAB2, allocation, done, perform, plan, router, steps

BEN = Holder("ben", "ctl2", 7)
TTL = timedelta(seconds=30)


@dataclass
class Times:
    """A wall clock that anyone may set, and a monotonic one that only goes on."""

    wall: datetime = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
    passed: float = 100.0
    messages: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.passed


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def open_at(database: Database, times: Times) -> Iterator[Callable[..., SqlStore]]:
    """Open the state with the clock that the test sets; it is closed at its end."""
    with ExitStack() as stack:

        def again(ttl: timedelta = TTL) -> SqlStore:
            database.prepare()
            return stack.enter_context(closing(open_store(database.where, cluster="lab", clock=times.now, ttl=ttl)))

        yield again


@contextmanager
def lost_to_ben(store: SqlStore, taken: tuple[Lock, ...]) -> Iterator[tuple[Lock, ...]]:
    with store.lock([lock.name for lock in taken], BEN, silent=taken) as again:
        yield again


class TestWatching:
    @pytest.mark.parametrize("jump", [timedelta(), timedelta(hours=1), timedelta(hours=-1)], ids=["", "on", "back"])
    def test_a_lease_that_is_renewed_is_never_silent(
        self, open_at: Callable[..., SqlStore], times: Times, jump: timedelta
    ) -> None:
        store = open_at()
        watch = Watch(TTL.total_seconds(), times.monotonic)
        with store.lock([LAB1], ANNA) as taken:
            for beat in range(12):
                times.passed += 10
                times.wall += jump if beat == 5 else timedelta(seconds=10)
                store.renew(taken)
                assert watch.silent(store.locks()) == ()
                with pytest.raises(StateLocked), store.lock([LAB1], BEN, silent=taken):
                    pytest.fail("it was taken over")

    @pytest.mark.parametrize("jump", [timedelta(), timedelta(hours=1), timedelta(hours=-1)], ids=["", "on", "back"])
    def test_a_lease_is_silent_once_it_was_seen_unchanged_for_its_time(
        self, open_at: Callable[..., SqlStore], times: Times, jump: timedelta
    ) -> None:
        store = open_at()
        watch = Watch(TTL.total_seconds(), times.monotonic)
        with store.lock([LAB1], ANNA) as taken:
            times.wall += timedelta(days=1)
            assert watch.silent(store.locks()) == (), "it was only just seen"
            times.wall += jump
            times.passed += 29.9
            assert watch.silent(store.locks()) == ()
            times.passed += 0.2
            assert watch.silent(store.locks()) == taken

    def test_a_clock_that_does_not_advance_hides_no_renewal(self, open_at: Callable[..., SqlStore]) -> None:
        store = open_at()
        with store.lock([LAB1], ANNA) as taken:
            marks = {taken[0].alive}
            for _ in range(5):
                store.renew(taken)
                (lock,) = store.locks()
                marks.add(lock.alive)
            assert len(marks) == 6

    def test_a_lease_that_is_renewed_between_two_checks_is_kept(self, store: SqlStore) -> None:
        with store.lock([LAB1], ANNA) as taken:
            store.renew(taken)
            with pytest.raises(StateLocked, match=r"last renewed at 2026-11-22 08:0"):
                store.lock([LAB1], BEN, silent=taken).__enter__()

    def test_life_is_estimated_from_the_last_renewal(self, open_at: Callable[..., SqlStore], times: Times) -> None:
        store = open_at()
        with store.lock([LAB1], ANNA) as (lock,):
            assert store.life(lock, BEN) is Life.ALIVE
            times.wall += timedelta(minutes=1)
            assert store.life(lock, BEN) is Life.SILENT
            store.renew([lock])
            assert store.life(lock, BEN) is Life.ALIVE
        assert store.life(lock, BEN) is Life.ENDED


class TestHolding:
    async def test_an_expired_lease_is_taken_over_by_a_waiting_process(
        self, open_at: Callable[..., SqlStore], times: Times
    ) -> None:
        store = open_at(timedelta(seconds=0.3))
        with store.lock([LAB1, SHARED], ANNA) as taken:
            times.wall -= timedelta(hours=1)
            async with hold(store, [LAB1], BEN, self.patience(times, 60), StateWorker()) as (lock,):
                assert lock.token > max(one.token for one in taken)
                assert [one.holder for one in store.locks()] == [ANNA, BEN]
            assert [one.name for one in store.locks()] == [SHARED]
        assert len(times.messages) == 1, "one message for each holder"
        assert times.messages[0].startswith("alice/lab1 is being changed by anna on host ctl1")

    async def test_a_lease_at_work_is_not(self, open_at: Callable[..., SqlStore], times: Times) -> None:
        store = open_at(timedelta(seconds=0.6))
        with store.lock([LAB1], ANNA) as taken, renewed(store, taken):
            with pytest.raises(StateLocked):
                async with hold(store, [LAB1], BEN, self.patience(times, 2), StateWorker()):
                    pytest.fail("it was taken over")
            assert store.locks()[0].token == taken[0].token

    async def test_it_is_renewed_while_the_loop_is_busy(self, open_at: Callable[..., SqlStore], times: Times) -> None:
        store = open_at(timedelta(seconds=0.3))
        async with hold(store, [LAB1], ANNA, self.patience(times, 0), StateWorker()) as (lock,):
            renewals = 0
            while renewals < 3:  # nothing is awaited here
                renewals += store.locks()[0].alive != lock.alive
                Event().wait(0.05)
            assert store.locks()[0].alive > lock.alive

    async def test_a_process_that_does_not_wait_is_refused_at_once(
        self, open_at: Callable[..., SqlStore], times: Times
    ) -> None:
        store = open_at()
        with store.lock([LAB1], ANNA), pytest.raises(StateLocked):
            async with hold(store, [LAB1], BEN, self.patience(times, 0), StateWorker()):
                pytest.fail("it was taken over")
        assert times.messages == []

    def patience(self, times: Times, seconds: float) -> LockWait:
        return LockWait(seconds, times.messages.append, asyncio.Event())


class TestFencing:
    def test_a_former_holder_writes_nothing(self, opened: Callable[[], SqlStore]) -> None:
        first, second = opened(), opened()
        todo = steps((None, router()))
        with first.lock([LAB1, SHARED], ANNA) as taken:
            old = first.under(taken)
            apply = old.begin(plan(old, {LAB1: allocation()}, todo=todo), ANNA, "")
            old.intend(apply, todo)
            with lost_to_ben(second, taken) as again:
                before = second.read()
                made = plan(old, {LAB1: allocation()})
                for write in (
                    lambda: old.begin(made, ANNA, ""),
                    lambda: old.intend(apply, todo),
                    lambda: old.record(apply, done(todo)),
                    lambda: old.finish(apply, "done", 0),
                    lambda: old.forget([router().address]),
                    lambda: old.renew(taken),
                    lambda: first.renew(taken),
                    lambda: old.lock([LAB2], ANNA).__enter__(),
                ):
                    with pytest.raises(
                        StateLost, match=r"^alice/lab1 was taken over by ben on host ctl2 \(pid 7\) at "
                    ):
                        write()
                assert second.read() == before
                assert [lock.token for lock in second.locks()] == [lock.token for lock in again]

    def test_the_release_of_a_former_holder_keeps_the_new_holders_lock(self, store: SqlStore) -> None:
        first = store.lock([LAB1], ANNA)
        taken = first.__enter__()
        with lost_to_ben(store, taken) as again:
            first.__exit__(None, None, None)
            assert [lock.token for lock in store.locks()] == [lock.token for lock in again]

    def test_a_new_holder_that_is_done_is_named_from_the_history(self, store: SqlStore) -> None:
        with store.lock([LAB1], ANNA) as taken:
            with lost_to_ben(store, taken):
                store.begin(plan(store, {LAB1: allocation()}), BEN, "")
            sentence = r"^alice/lab1 was taken over by ben on host ctl2 \(pid 7\), whose apply began at 2026-11-22 08:0"
            with pytest.raises(StateLost, match=sentence):
                store.under(taken).begin(plan(store, {LAB1: allocation()}), ANNA, "")

    def test_an_unlocked_holder_is_refused(self, store: SqlStore) -> None:
        with store.lock([LAB1], ANNA) as taken:
            store.force_unlock(LAB1)
            with pytest.raises(StateLost, match=r"^alice/lab1 was removed, and nobody holds it now"):
                store.under(taken).begin(plan(store, {LAB1: allocation()}), ANNA, "")
            with store.lock([LAB1], BEN) as (lock,):
                assert lock.token > taken[0].token
        assert store.history() == ()

    def test_a_holder_of_its_locks_may_write(self, store: SqlStore) -> None:
        with store.lock([LAB1], ANNA) as taken:
            perform(store.under(taken), plan(store, {LAB1: allocation()}, todo=steps((None, router()))))
        assert set(store.read().resources) == {router().address}

    def test_a_state_that_is_older_than_what_hosts_saw_catches_up(self, store: SqlStore) -> None:
        store.outgrow(57)
        store.outgrow(3)
        with store.lock([LAB1], ANNA) as (lock,):
            assert lock.token == 58

    def test_a_renewal_leaves_the_serial_alone(self, store: SqlStore) -> None:
        with store.lock([LAB1], ANNA) as taken:
            before = store.read()
            store.renew(taken)
            assert store.read() == before
            assert replace(store.locks()[0], alive=taken[0].alive) == taken[0]

    def test_a_closed_reader_cannot_renew(self, database: Database, store: SqlStore) -> None:
        with store.lock([LAB1], ANNA) as taken:
            reader = database.open(read_only=True)
            with pytest.raises(StateError, match="reading only"):
                reader.renew(taken)
            reader.close()
