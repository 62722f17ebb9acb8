"""Numbers stay taken until what used them is confirmed gone, on each database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler.errors import StateError, StateMoved
from reconciler.plan.model import Step
from reconciler.plan.results import StepResult, StepStatus
from reconciler.plan.snapshot import (
    Claim,
    claims,
)
from reconciler.spec.models.names import SliceId
from reconciler.state.sql.store import SqlStore
from reconciler.state.store import ApplyId, StateStore
from tests.contracts.states import (
    ANNA,
    LAB1,
    LAB2,
    allocation,
    done,
    perform,
    plan,
    port,
    router,
    steps,
)


class TestClaims:
    def change(self, store: StateStore) -> tuple[ApplyId, tuple[Step, ...], frozenset[Claim]]:
        """Begin to move LAB1's port from VLAN 100 to 101; returns what it had and will not have."""
        perform(store, plan(store, {LAB1: allocation(vlans=(0,))}, todo=steps((None, port(100)))))
        todo = steps((port(100), port(101)))
        later = allocation(vlans=(1,))
        apply = store.begin(plan(store, {LAB1: later}, todo=todo), ANNA, "")
        return apply, todo, frozenset(claims(LAB1, allocation())) - frozenset(claims(LAB1, later))

    def test_both_ends_of_a_change_are_taken_while_it_runs(self, store: SqlStore) -> None:
        _, _, old = self.change(store)
        snapshot = store.read()
        assert snapshot.allocations == {LAB1: allocation(vlans=(1,))}
        assert snapshot.held == {LAB1: old}
        assert Claim("vlan", "", "100") in old

    def test_the_old_end_is_free_once_the_change_is_done(self, store: SqlStore) -> None:
        apply, todo, _ = self.change(store)
        store.intend(apply, todo)
        store.record(apply, done(todo))
        store.finish(apply, "done", 0)
        assert store.read().held == {}

    @pytest.mark.parametrize("attempted", [True, False])
    def test_the_old_end_stays_taken_where_the_change_is_not_done(self, store: SqlStore, *, attempted: bool) -> None:
        apply, todo, old = self.change(store)
        if attempted:
            store.intend(apply, todo)
            store.record(apply, [StepResult(todo[0], StepStatus.UNKNOWN)])
        store.finish(apply, "failed", 0 if attempted else 1)
        assert store.read().held == {LAB1: old}

    def test_the_next_apply_that_completes_the_change_frees_it(self, store: SqlStore) -> None:
        apply, todo, old = self.change(store)
        store.finish(apply, "interrupted", len(todo))
        again = plan(store, {LAB1: allocation(vlans=(1,))}, todo=todo)
        apply = store.begin(again, ANNA, "")
        assert store.read().held == {LAB1: old}
        store.intend(apply, todo)
        store.record(apply, done(todo))
        assert store.read().held == {}

    def test_a_held_number_is_not_given_to_another_slice(self, store: SqlStore) -> None:
        self.change(store)
        thief = replace(allocation(1), links=allocation().links)
        with pytest.raises(StateError, match="is taken by alice/lab1"):
            store.begin(plan(store, {LAB2: thief}), ANNA, "")

    def test_a_slice_may_take_back_what_is_held_for_it(self, store: SqlStore) -> None:
        apply, _, _ = self.change(store)
        store.finish(apply, "failed", 1)
        store.begin(plan(store, {LAB1: allocation(vlans=(0,))}), ANNA, "")
        snapshot = store.read()
        assert snapshot.allocations == {LAB1: allocation(vlans=(0,))}
        assert Claim("vlan", "", "100") not in snapshot.held.get(LAB1, frozenset())

    def test_a_destroyed_slice_leaves_with_its_last_resource(self, store: SqlStore) -> None:
        made = steps((None, router()), (None, port(100)))
        perform(store, plan(store, {LAB1: allocation()}, todo=made))
        todo = steps((port(100), None), (router(), None))
        apply = store.begin(plan(store, {}, leaving=(LAB1,), todo=todo), ANNA, "")
        store.intend(apply, todo)
        store.record(apply, done(todo[:1]))
        assert store.read().allocations == {LAB1: allocation()}
        store.record(apply, done(todo[1:]))
        store.finish(apply, "done", 0)
        snapshot = store.read()
        assert (snapshot.allocations, snapshot.held, snapshot.resources) == ({}, {}, {})
        perform(store, plan(store, {LAB2: replace(allocation(), id=SliceId(1001))}))

    def test_a_half_destroyed_slice_keeps_its_allocation_and_can_be_destroyed_again(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, router()), (None, port(100)))))
        todo = steps((port(100), None), (router(), None))
        apply = store.begin(plan(store, {}, leaving=(LAB1,), todo=todo), ANNA, "")
        store.intend(apply, todo[:1])
        store.record(apply, [StepResult(todo[0], StepStatus.UNKNOWN)])
        store.finish(apply, "failed", 1)
        snapshot = store.read()
        assert snapshot.allocations == {LAB1: allocation()}
        assert set(snapshot.resources) == {port(100).address, router().address}
        with pytest.raises(StateError, match="taken by alice/lab1"):
            store.begin(plan(store, {LAB2: allocation()}), ANNA, "")
        perform(store, plan(store, {}, leaving=(LAB1,), todo=todo))
        assert store.read().allocations == {}

    def test_a_leaving_slice_that_is_wanted_again_stays(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, router()))))
        apply = store.begin(plan(store, {}, leaving=(LAB1,), todo=steps((router(), None))), ANNA, "")
        store.finish(apply, "interrupted", 1)
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((router(), None))))
        assert store.read().allocations == {LAB1: allocation()}

    def test_a_slice_of_which_nothing_was_made_leaves_without_steps(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}))
        perform(store, plan(store, {}, leaving=(LAB1,)))
        assert store.read().allocations == {}

    def test_a_plan_made_before_its_slice_left_is_stale(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}))
        made = plan(store, {LAB1: allocation()})
        perform(store, plan(store, {}, leaving=(LAB1,)))
        with pytest.raises(StateMoved, match="alice/lab1 has changed"):
            store.begin(made, ANNA, "")

    def test_a_kill_after_the_last_result_leaks_no_number(self, opened: Callable[[], SqlStore]) -> None:
        first = opened()
        perform(first, plan(first, {LAB1: allocation()}, todo=steps((None, router()))))
        todo = steps((router(), None))
        apply = first.begin(plan(first, {}, leaving=(LAB1,), todo=todo), ANNA, "")
        first.intend(apply, todo)
        first.record(apply, done(todo))
        first.close()  # and `finish` never comes
        assert opened().read().allocations == {}
