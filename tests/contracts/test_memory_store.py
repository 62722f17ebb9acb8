"""The state contract on the store in memory: every test that needs neither a file, nor a server, nor an export."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from reconciler.state.memory import MemoryStore
from tests.contracts import (
    test_state_claims,
    test_state_contract,
    test_state_history,
    test_state_leases,
    test_state_locks,
    test_state_races,
    test_state_renames,
    test_state_turn,
)
from tests.contracts import test_state_orphans as orphans
from tests.contracts.conftest import Clock
from tests.contracts.test_state_leases import TTL, Times
from tests.contracts.test_state_orphans import Clock as SetClock

LINEAGE = "0d0f1f0e-0000-4000-8000-000000000000"


@pytest.fixture
def store() -> MemoryStore:
    """Give a state in which nothing has happened."""
    return MemoryStore(Clock(), lineage=LINEAGE)


@pytest.fixture
def opened(store: MemoryStore) -> Callable[[], MemoryStore]:
    """Give the same state as often as a test wants."""
    return lambda: store


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def open_at(times: Times) -> Callable[..., MemoryStore]:
    """Give a state with the clock that the test sets."""
    return lambda ttl=TTL: MemoryStore(times.now, ttl=ttl, lineage=LINEAGE)


class TestReading(test_state_contract.TestReading):
    test_a_read_only_store_makes_no_state_and_refuses_writes = None  # type: ignore[assignment]  # about a file


class TestBeginning(test_state_contract.TestBeginning):
    pass


class TestSteps(test_state_contract.TestSteps):
    pass


class TestClaims(test_state_claims.TestClaims):
    pass


class TestRenames(test_state_renames.TestRenames):
    pass


class TestHistory(test_state_history.TestHistory):
    test_hostile_words_are_kept_as_text = None  # type: ignore[assignment]  # about what a database stores


class TestWatching(test_state_leases.TestWatching):
    pass


class TestHolding(test_state_leases.TestHolding):
    pass


class TestFencing(test_state_leases.TestFencing):
    test_a_closed_reader_cannot_renew = None  # type: ignore[assignment]  # about a file


class TestLocks(test_state_locks.TestLocks):
    test_another_process_is_kept_out = None  # type: ignore[assignment]  # about a file
    test_a_killed_process_leaves_its_intents_and_a_lock_to_take_over = None  # type: ignore[assignment]  # as above


class TestOrphans:
    @pytest.fixture
    def clock(self) -> SetClock:
        return SetClock()

    @pytest.fixture
    def store(self, clock: SetClock) -> MemoryStore:
        return MemoryStore(clock, lineage=LINEAGE)

    test_seen_again = staticmethod(orphans.test_what_is_seen_again_keeps_its_first_moment)
    test_forgotten = staticmethod(orphans.test_orphans_that_are_gone_are_forgotten_on_the_surveyed_hosts_only)
    test_wrong_clock = staticmethod(orphans.test_a_moment_that_lies_ahead_is_not_believed)
    test_same_address = staticmethod(orphans.test_removing_an_orphan_leaves_the_resource_of_its_address_alone)


test_a_stale_turn = test_state_turn.test_a_plan_that_gives_out_numbers_is_stale_once_a_turn_was_taken
test_threads = test_state_races.test_threads_that_share_a_store_win_one_serial_each


def test_an_image_is_restored_with_its_locks(store: MemoryStore) -> None:
    with store.lock(["alice/lab1"], test_state_leases.BEN) as taken:
        image = store.image()
    assert store.locks() == ()
    store.restore(image)
    assert store.locks() == taken
    store.restore(image.unlocked())
    assert store.locks() == ()
    assert store.ttl > timedelta(0)
