"""The round-robin turn advances in the state with every process that takes it, on each database."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from reconciler.errors import StateMoved
from reconciler.state.sql.store import SqlStore
from tests.contracts.conftest import Database
from tests.contracts.states import ANNA, LAB1, allocation, plan

PROCESSES, THREADS, ROUNDS = 3, 2, 20


def test_a_turn_is_taken_once_and_kept(database: Database, store: SqlStore) -> None:
    assert [store.take_turn(lambda turn: turn + 1) for _ in range(3)] == [0, 1, 2]
    again = database.open()
    assert again.read(()).counters.turn == 3
    assert again.take_turn(lambda turn: turn + 2) == 3
    assert store.read(()).counters.turn == 5
    again.close()


@pytest.mark.slow
def test_no_turn_is_lost_by_processes_whose_threads_open_the_state_again_and_again(
    database: Database, store: SqlStore
) -> None:
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(take_turns, database.where) for _ in range(PROCESSES)]
        taken = [turn for run in runs for turn in run.result(timeout=120)]
    assert sorted(taken) == list(range(PROCESSES * THREADS * ROUNDS))
    assert store.read(()).counters.turn == PROCESSES * THREADS * ROUNDS


def take_turns(where: str) -> list[int]:
    """Have two threads take turns, each opening the state again for every one, as callers of a library do."""

    def take(_: int) -> list[int]:
        return [take_turn(where) for _ in range(ROUNDS)]

    with ThreadPoolExecutor(THREADS) as pool:
        return [turn for turns in pool.map(take, range(THREADS)) for turn in turns]


def take_turn(where: str) -> int:
    """Take one turn from a state that is opened for it."""
    mine = Database(where).open()
    try:
        return mine.take_turn(lambda turn: turn + 1)
    finally:
        mine.close()


def test_a_plan_that_gives_out_numbers_is_stale_once_a_turn_was_taken(store: SqlStore) -> None:
    made = plan(store, {LAB1: allocation()})
    store.take_turn(lambda turn: turn + 1)
    with pytest.raises(StateMoved, match="since the plan was made"):
        store.begin(made, ANNA, "")
