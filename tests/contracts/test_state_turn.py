"""The worker whose turn it is moves on in the record, whoever takes it, on each database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from reconciler.errors import StateMoved
from reconciler.state.sql import SqlStore
from tests.contracts.conftest import Database
from tests.contracts.records import ANNA, LAB1, allocation, plan

THREADS, ROUNDS = 4, 5


def test_a_turn_is_taken_once_and_kept(database: Database, store: SqlStore) -> None:
    assert [store.take_turn(lambda turn: turn + 1) for _ in range(3)] == [0, 1, 2]
    again = database.open()
    assert again.read(()).counters.turn == 3
    assert again.take_turn(lambda turn: turn + 2) == 3
    assert store.read(()).counters.turn == 5
    again.close()


def test_two_never_get_the_same_turn(database: Database, store: SqlStore) -> None:
    def take(_: int) -> list[int]:
        mine = database.open()
        try:
            return [mine.take_turn(lambda turn: turn + 1) for _ in range(ROUNDS)]
        finally:
            mine.close()

    with ThreadPoolExecutor(THREADS) as pool:
        taken = [turn for turns in pool.map(take, range(THREADS)) for turn in turns]
    assert sorted(taken) == list(range(THREADS * ROUNDS))
    assert store.read(()).counters.turn == THREADS * ROUNDS


def test_a_plan_that_gives_out_numbers_is_stale_once_a_turn_was_taken(store: SqlStore) -> None:
    made = plan(store, {LAB1: allocation()})
    store.take_turn(lambda turn: turn + 1)
    with pytest.raises(StateMoved, match="since the plan was made"):
        store.begin(made, ANNA, "")
