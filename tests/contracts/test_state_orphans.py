"""Orphans in the state: when and how often they were seen; deleting one changes no resource in the state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.plan.results import StepResult, StepStatus
from reconciler.plan.snapshot import Status
from reconciler.state.sql.store import SqlStore, open_store
from reconciler.state.store import OrphanId, SeenOrphan
from tests.contracts.conftest import Database
from tests.contracts.states import ANNA, LAB1, NETWORK, WORKER, allocation, perform, plan, port, steps

HERE = OrphanId(WORKER, port(100).address, "f00")
THERE = OrphanId(NETWORK, port(100).address, "f00")


@dataclass
class Clock:
    """A clock that is set by hand."""

    now: datetime = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: Database, clock: Clock) -> Iterator[SqlStore]:
    database.prepare()
    opened = open_store(database.where, cluster="lab", clock=clock)
    yield opened
    opened.close()


def test_what_is_seen_again_keeps_its_first_moment(store: SqlStore, clock: Clock) -> None:
    assert store.orphans() == ()
    first = clock.now
    store.see_orphans([HERE], {WORKER, NETWORK})
    clock.now += timedelta(minutes=5)
    store.see_orphans([HERE, THERE, HERE], {WORKER, NETWORK})
    assert store.orphans() == (SeenOrphan(THERE, clock.now, 1), SeenOrphan(HERE, first, 2))
    assert store.read().serial == 0, "a state that has only looked is still empty, and gives way to an import"


def test_orphans_that_are_gone_are_forgotten_on_the_surveyed_hosts_only(store: SqlStore, clock: Clock) -> None:
    store.see_orphans([HERE, THERE], {WORKER, NETWORK})
    another = HERE._replace(fingerprint="bar")
    store.see_orphans([another], {WORKER})
    assert store.orphans() == (SeenOrphan(THERE, clock.now, 1), SeenOrphan(another, clock.now, 1))


def test_a_moment_that_lies_ahead_is_not_believed(store: SqlStore, clock: Clock) -> None:
    store.see_orphans([HERE], {WORKER})
    clock.now -= timedelta(hours=1)
    store.see_orphans([HERE], {WORKER})
    assert store.orphans() == (SeenOrphan(HERE, clock.now, 2),)


def test_removing_an_orphan_leaves_the_resource_of_its_address_alone(store: SqlStore) -> None:
    perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, port(100)))))
    before = store.read()
    store.see_orphans([HERE, THERE], {WORKER, NETWORK})
    todo = steps((port(101), None))
    apply = store.begin_removal({LAB1}, ANNA, "digest")
    store.intend_removal(apply, todo)
    assert [entry.status for entry in store.journal(apply)] == [None]
    store.record_removal(apply, [StepResult(todo[0], StepStatus.DONE)], [HERE])
    store.finish(apply, "done", 0)
    after = store.read()
    assert (after.resources, after.allocations, after.held) == (before.resources, before.allocations, before.held)
    assert after.resources[port(100).address].status is Status.PRESENT
    assert after.serial > before.serial
    assert [orphan.orphan for orphan in store.orphans()] == [THERE]
    (latest, _) = store.history()
    assert (latest.id, latest.slices, latest.result, latest.done) == (apply, (LAB1,), "done", 1)
