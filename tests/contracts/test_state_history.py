"""What history and the journal say of applies, on each database."""

from __future__ import annotations

from datetime import UTC, datetime

from reconciler.plan.results import StepResult, StepStatus
from reconciler.state.sql.store import SqlStore
from reconciler.state.store import Verb
from tests.contracts.states import (
    ANNA,
    LAB1,
    NETWORK,
    allocation,
    done,
    image,
    plan,
    port,
    router,
    steps,
)


class TestHistory:
    def test_it_lists_holder_times_and_result_newest_first(self, store: SqlStore) -> None:
        todo = steps((None, router()), (None, port(100)), (None, image()))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "abc")
        store.intend(apply, todo[:2])
        store.record(apply, [*done(todo[:1]), StepResult(todo[1], StepStatus.UNKNOWN)])
        store.finish(apply, "failed", 1)
        store.begin(plan(store, {LAB1: allocation()}), ANNA, "def")
        latest, first = store.history()
        assert (latest.id, latest.digest, latest.finished, latest.result) == (2, "def", None, "")
        assert (first.id, first.slices, first.holder, first.digest) == (1, (LAB1,), ANNA, "abc")
        assert (first.done, first.failed, first.skipped, first.result) == (1, 1, 1, "failed")
        assert first.started == datetime(2026, 11, 22, 8, 1, 12, tzinfo=UTC)
        assert first.finished == datetime(2026, 11, 22, 8, 1, 15, tzinfo=UTC)
        assert [entry.id for entry in store.history(limit=1)] == [2]

    def test_the_journal_keeps_the_order_of_intents(self, store: SqlStore) -> None:
        todo = steps((None, router()), (None, port(100)), (None, image()))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "")
        store.intend(apply, [todo[2], todo[0]])
        store.intend(apply, [todo[1]])
        store.record(apply, [StepResult(todo[0], StepStatus.DONE), StepResult(todo[2], StepStatus.FAILED, "disk full")])
        entries = store.journal(apply)
        assert [entry.step for entry in entries] == [3, 1, 2]
        assert [entry.status for entry in entries] == ["failed", "done", None]
        assert entries[0].message == "disk full"
        assert (entries[1].action, entries[1].address, entries[1].host) == ("create", router().address, NETWORK)
        assert (entries[2].finished, entries[2].message) == (None, "")

    def test_a_step_attempted_twice_has_two_entries(self, store: SqlStore) -> None:
        todo = steps((None, router()))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "")
        store.intend(apply, todo)
        store.record(apply, [StepResult(todo[0], StepStatus.UNKNOWN, "cut")])
        store.intend(apply, todo)
        store.record(apply, done(todo))
        assert [(entry.status, entry.message) for entry in store.journal(apply)] == [("unknown", "cut"), ("done", "")]

    def test_hostile_words_are_kept_as_text(self, store: SqlStore) -> None:
        todo = steps((None, router()))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "")
        store.intend(apply, todo)
        store.record(apply, [StepResult(todo[0], StepStatus.FAILED, "a\0b\ud800'); DROP TABLE journal; --")])
        assert store.journal(apply)[0].message == "a\ufffdb?'); DROP TABLE journal; --"


def test_a_step_that_failed_before_it_was_attempted_keeps_its_reason(store: SqlStore) -> None:
    todo = steps((None, router(LAB1)), (None, port(100, LAB1)))
    apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "abc")
    store.intend(apply, todo[:1])
    store.record(apply, [StepResult(todo[0], StepStatus.DONE)])
    store.record(apply, [StepResult(todo[1], StepStatus.FAILED, "worker1 cannot be reached: no route to host")])
    store.finish(apply, "failed", 0)
    found = store.journal(apply)
    assert [(entry.step, entry.status, entry.message) for entry in found] == [
        (todo[0].id, "done", ""),
        (todo[1].id, "failed", "worker1 cannot be reached: no route to host"),
    ]
    assert found[1].intended == found[1].finished
    assert store.history(1)[0].failed == 1


def test_the_history_says_which_verb_began_an_apply(store: SqlStore) -> None:
    applied = store.begin(plan(store, {LAB1: allocation()}), ANNA, "a")
    store.finish(applied, "done", 0)
    destroyed = store.begin(plan(store, {}), ANNA, "b", Verb.DESTROY)
    store.finish(destroyed, "done", 0)
    removed = store.begin_removal([LAB1], ANNA, "c")
    store.finish(removed, "done", 0)
    assert [entry.verb for entry in store.history()] == [Verb.GC, Verb.DESTROY, Verb.APPLY]
