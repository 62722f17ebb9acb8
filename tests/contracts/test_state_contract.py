"""What every StateStore must do, on each database: read, begin, and write the status of resources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler.errors import StateError, StateMoved
from reconciler.plan.results import StepResult, StepStatus
from reconciler.plan.snapshot import (
    Counters,
    LinkAllocation,
    ResourceState,
    StateSnapshot,
    Status,
)
from reconciler.spec.models.names import HostName, LinkId, LinkKey, SliceId, SliceKey, VlanId, VmId
from reconciler.state.sql.store import SqlStore
from reconciler.state.store import ApplyId
from tests.contracts.conftest import Database
from tests.contracts.states import (
    ANNA,
    LAB1,
    LAB2,
    NOUNS,
    allocation,
    done,
    image,
    perform,
    plan,
    port,
    resource_states,
    router,
    steps,
)


class TestReading:
    def test_a_new_state_is_empty_and_has_a_lineage(self, store: SqlStore) -> None:
        snapshot = store.read()
        assert snapshot == StateSnapshot(lineage=snapshot.lineage)
        assert snapshot.lineage

    def test_lineage_and_content_outlive_the_connection(self, opened: Callable[[], SqlStore]) -> None:
        first = opened()
        perform(first, plan(first, {LAB1: allocation()}, todo=steps((None, router()))))
        before = first.read()
        first.close()
        assert opened().read() == before

    def test_every_noun_comes_back_as_it_was_written(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}, todo=steps(*((None, noun) for noun in NOUNS))))
        found = resource_states(store)
        assert found == {noun.address: ResourceState(noun) for noun in NOUNS}
        for noun in NOUNS:
            assert (found[noun.address].resource.needs, found[noun.address].resource.after) == (noun.needs, noun.after)

    def test_a_scope_reads_its_slices_and_what_slices_share(self, store: SqlStore) -> None:
        todo = steps((None, router(LAB1)), (None, router(LAB2)), (None, image()))
        perform(store, plan(store, {LAB1: allocation(), LAB2: allocation(1)}, todo=todo))
        snapshot = store.read([LAB1])
        assert set(snapshot.resources) == {router(LAB1).address, image().address}
        assert set(snapshot.allocations) == {LAB1, LAB2}

    def test_a_scope_of_many_slices_reads_like_a_small_one(self, store: SqlStore) -> None:
        todo = steps((None, router(LAB1)), (None, router(LAB2)))
        perform(store, plan(store, {LAB1: allocation(), LAB2: allocation(1)}, todo=todo))
        many = [LAB1, *(SliceKey(f"carol/lab{number}") for number in range(2000))]
        assert set(store.read(many).resources) == {router(LAB1).address}

    def test_a_read_only_store_makes_no_state_and_refuses_writes(self, database: Database) -> None:
        empty = database.open(read_only=True)
        assert empty.read() == StateSnapshot(lineage="")
        with pytest.raises(StateError, match="reading only"):
            empty.begin(plan(empty, {LAB1: allocation()}), ANNA, "")
        made = plan(empty, {LAB1: allocation()})
        empty.close()
        real = database.open()
        perform(real, made)
        real.close()
        reader = database.open(read_only=True)
        assert set(reader.read().allocations) == {LAB1}
        with pytest.raises(StateError, match="reading only"), reader.lock([LAB1], ANNA):
            pytest.fail("the lock was given")
        reader.close()


class TestBeginning:
    def test_it_writes_allocations_and_counters(self, store: SqlStore) -> None:
        counters = Counters(SliceId(1001), VmId(1002), LinkId(2), 1)
        store.begin(plan(store, {LAB1: allocation()}, counters=counters), ANNA, "")
        snapshot = store.read()
        assert snapshot.allocations == {LAB1: allocation()}
        assert snapshot.counters == counters
        assert snapshot.serial == 1

    def test_counters_never_go_back(self, store: SqlStore) -> None:
        high = Counters(SliceId(1005), VmId(1009), LinkId(7), 3)
        perform(store, plan(store, {LAB1: allocation()}, counters=high))
        perform(store, plan(store, {LAB1: allocation()}, counters=Counters()))
        assert store.read().counters == high

    def test_a_plan_is_stale_once_its_slice_has_changed(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}))
        made = plan(store, {LAB1: allocation()}, todo=steps((None, router())))
        perform(store, made)
        with pytest.raises(StateMoved, match=r"^alice/lab1 has changed since the plan was made$"):
            store.begin(made, ANNA, "")

    def test_a_plan_is_stale_once_what_slices_share_has_changed(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation(), LAB2: allocation(1)}))
        made = plan(store, {LAB1: allocation()}, todo=steps((None, router())))
        perform(store, plan(store, {LAB2: allocation(1)}, todo=steps((None, image()))))
        with pytest.raises(StateMoved, match="what slices share"):
            store.begin(made, ANNA, "")

    def test_a_plan_of_a_new_slice_is_stale_once_numbers_were_given_out(self, store: SqlStore) -> None:
        made = plan(store, {LAB1: allocation()})
        perform(store, plan(store, {LAB2: allocation(1)}))
        with pytest.raises(StateMoved, match=r"^alice/lab1 has changed since the plan was made$"):
            store.begin(made, ANNA, "")

    @pytest.mark.parametrize("by", ["another slice", "a slice that leaves", "a turn"])
    def test_a_plan_that_gives_numbers_is_stale_once_others_were_given_out(self, store: SqlStore, by: str) -> None:
        perform(store, plan(store, {LAB1: allocation(), LAB2: allocation(1)}))
        keeps = plan(store, {LAB1: allocation()}, todo=steps((None, router())))
        gives = plan(store, {LAB1: allocation(vlans=(0, 1))}, todo=steps((None, router())))
        store.check_plan(gives)
        if by == "another slice":
            perform(store, plan(store, {LAB2: allocation(1, vlans=(0, 1))}))
        elif by == "a slice that leaves":
            perform(store, plan(store, {}, leaving=(LAB2,)))
        else:
            store.take_turn(lambda turn: turn + 1)
        before = store.read(), store.history()
        for refuse in (store.check_plan, lambda stale: store.begin(stale, ANNA, "")):
            with pytest.raises(StateMoved, match=r"^numbers have been given out since the plan was made$"):
                refuse(gives)
        assert (store.read(), store.history()) == before
        perform(store, keeps)

    def test_a_plan_that_gives_no_numbers_does_not_mind_another_slice(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation(), LAB2: allocation(1)}))
        made = plan(store, {LAB1: allocation()}, todo=steps((None, router())))
        perform(store, plan(store, {LAB2: allocation(1)}, todo=steps((None, router(LAB2)))))
        perform(store, made)
        assert set(resource_states(store)) == {router(LAB1).address, router(LAB2).address}

    def test_a_plan_of_another_state_is_refused(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}))
        with pytest.raises(StateMoved, match="another state"):
            store.begin(replace(plan(store, {LAB1: allocation()}), lineage="other"), ANNA, "")

    def test_a_plan_from_before_the_state_is_refused_once_anything_has_begun(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}))
        with pytest.raises(StateMoved, match="another state"):
            store.begin(replace(plan(store, {}), lineage="", serial=0), ANNA, "")

    def test_a_state_older_than_the_plan_is_refused(self, store: SqlStore) -> None:
        with pytest.raises(StateMoved, match="older than the plan"):
            store.begin(replace(plan(store, {LAB1: allocation()}), serial=7), ANNA, "")

    def test_a_plan_is_checked_as_it_would_begin_and_nothing_changes(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}))
        made = plan(store, {LAB1: allocation()}, todo=steps((None, router())))
        before = store.read(), store.history()
        store.check_plan(made)
        with pytest.raises(StateMoved, match="another state"):
            store.check_plan(replace(made, lineage="other"))
        assert (store.read(), store.history()) == before
        perform(store, made)
        with pytest.raises(StateMoved, match=r"^alice/lab1 has changed since the plan was made$"):
            store.check_plan(made)

    def test_a_number_is_never_given_twice(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}))
        before = store.read()
        greedy = replace(allocation(1), links=allocation().links)
        with pytest.raises(StateError, match=r"^link-id 1 is taken by alice/lab1, and bob/lab2 claims it too$"):
            store.begin(plan(store, {LAB2: greedy}), ANNA, "")
        assert store.read() == before
        assert len(store.history()) == 1

    def test_two_slices_of_one_plan_cannot_have_one_number(self, store: SqlStore) -> None:
        with pytest.raises(StateError, match="slice-id 1000 is taken by alice/lab1"):
            store.begin(plan(store, {LAB1: allocation(), LAB2: allocation()}), ANNA, "")
        assert store.read().allocations == {}

    def test_a_subnet_is_claimed_within_its_slice_alone(self, store: SqlStore) -> None:
        subnet = LinkAllocation(LinkId(90), VlanId(121), "192.168.100.0/24")
        other = replace(allocation(1), links={LinkKey("a:eth1--b:eth1"): subnet})
        perform(store, plan(store, {LAB1: allocation(), LAB2: other}))
        assert store.read().allocations == {LAB1: allocation(), LAB2: other}


class TestSteps:
    def test_a_creation_is_creating_then_present(self, store: SqlStore) -> None:
        todo = steps((None, router()))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "")
        assert resource_states(store) == {}
        store.intend(apply, todo)
        assert resource_states(store) == {router().address: ResourceState(router(), Status.CREATING)}
        store.record(apply, done(todo))
        assert resource_states(store) == {router().address: ResourceState(router())}

    def test_an_update_keeps_what_stood_until_it_is_done(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, port(100)))))
        todo = steps((port(100), port(101)))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "")
        store.intend(apply, todo)
        assert resource_states(store)[port(100).address] == ResourceState(port(100), Status.UNKNOWN, port(101))
        store.record(apply, done(todo))
        assert resource_states(store)[port(100).address] == ResourceState(port(101))

    def test_an_unknown_update_keeps_both_ends(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, port(100)))))
        todo = steps((port(100), port(101)))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "")
        store.intend(apply, todo)
        store.record(apply, [StepResult(todo[0], StepStatus.UNKNOWN, "connection lost")])
        assert resource_states(store)[port(100).address] == ResourceState(port(100), Status.UNKNOWN, port(101))

    def test_a_failed_update_keeps_both_ends(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, port(100)))))
        todo = steps((port(100), port(101)))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "")
        store.intend(apply, todo)
        store.record(apply, [StepResult(todo[0], StepStatus.FAILED, "no")])
        assert resource_states(store)[port(100).address] == ResourceState(port(100), Status.UNKNOWN, port(101))

    def test_a_move_has_what_counts_and_what_is_left_over_until_that_is_deleted(self, store: SqlStore) -> None:
        here, there = port(100), replace(port(100), host=HostName("worker9"))
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, here))))
        copy, departure = steps((here, there), (here, None))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=(copy, departure)), ANNA, "")
        store.intend(apply, [copy])
        assert resource_states(store) == {here.address: ResourceState(here, Status.UNKNOWN, there)}
        store.record(apply, done((copy,)))
        moved = ResourceState(there, Status.UNKNOWN, here)
        assert resource_states(store) == {here.address: moved}
        assert moved.leftover == here
        store.intend(apply, [departure])
        store.record(apply, [StepResult(departure, StepStatus.FAILED, "no")])
        assert resource_states(store) == {here.address: moved}
        store.record(apply, done((departure,)))
        assert resource_states(store) == {here.address: ResourceState(there)}

    def test_what_an_unfinished_move_left_is_deleted_and_the_resource_stays(self, store: SqlStore) -> None:
        here, there = port(100), replace(port(100), host=HostName("worker9"))
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, here))))
        copy, clearing = steps((here, there), (there, None))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=(copy,)), ANNA, "")
        store.intend(apply, [copy])
        store.record(apply, [StepResult(copy, StepStatus.UNKNOWN, "connection lost")])
        assert resource_states(store) == {here.address: ResourceState(here, Status.UNKNOWN, there)}
        store.intend(apply, [clearing])
        store.record(apply, done((clearing,)))
        assert resource_states(store) == {here.address: ResourceState(here)}

    def test_a_deletion_is_deleting_then_gone(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, router()))))
        todo = steps((router(), None))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "")
        store.intend(apply, todo)
        assert resource_states(store)[router().address].status is Status.DELETING
        store.record(apply, done(todo))
        assert resource_states(store) == {}

    def test_a_failed_deletion_stays_deleting(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, router()))))
        todo = steps((router(), None))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "")
        store.intend(apply, todo)
        store.record(apply, [StepResult(todo[0], StepStatus.FAILED, "busy")])
        store.finish(apply, "failed", 0)
        assert resource_states(store)[router().address] == ResourceState(router(), Status.DELETING)

    def test_a_replacement_is_a_deletion_and_a_creation_of_one_address(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, router()))))
        other = replace(router(), namespace="rt-2")
        away, back = steps((router(), None), (None, other))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=(away, back)), ANNA, "")
        for step in (away, back):
            store.intend(apply, [step])
            store.record(apply, done((step,)))
        assert resource_states(store) == {router().address: ResourceState(other)}

    def test_both_halves_of_a_replacement_may_be_recorded_at_once(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, router()))))
        other = replace(router(), host=HostName("elsewhere"))
        away, back = steps((router(), None), (None, other))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=(away, back)), ANNA, "")
        for step in (away, back):
            store.intend(apply, [step])
        store.record(apply, done((away, back)))
        assert resource_states(store) == {router().address: ResourceState(other)}

    def test_a_failed_creation_stays_creating(self, store: SqlStore) -> None:
        todo = steps((None, router()))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "")
        store.intend(apply, todo)
        store.record(apply, [StepResult(todo[0], StepStatus.FAILED, "no such bridge")])
        assert resource_states(store)[router().address] == ResourceState(router(), Status.CREATING)

    def test_an_intent_outlives_its_process(self, opened: Callable[[], SqlStore]) -> None:
        first = opened()
        todo = steps((None, router()))
        apply = first.begin(plan(first, {LAB1: allocation()}, todo=todo), ANNA, "")
        first.intend(apply, todo)
        first.close()
        later = opened()
        assert resource_states(later)[router().address].status is Status.CREATING
        assert [entry.status for entry in later.journal(apply)] == [None]

    def test_every_write_raises_the_serial(self, store: SqlStore) -> None:
        todo = steps((None, router()))
        apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "")
        serials = [store.read().serial]
        store.intend(apply, todo)
        serials.append(store.read().serial)
        store.record(apply, done(todo))
        serials.append(store.read().serial)
        store.finish(apply, "done", 0)
        serials.append(store.read().serial)
        assert serials == [1, 2, 3, 4]

    def test_nothing_is_written_for_an_apply_that_is_not_open(self, store: SqlStore) -> None:
        apply = perform(store, plan(store, {LAB1: allocation()}))
        before = store.read()
        with pytest.raises(StateError, match="it is finished"):
            store.intend(apply, steps((None, router())))
        with pytest.raises(StateError, match="it does not exist"):
            store.record(ApplyId(99), done(steps((None, router()))))
        with pytest.raises(StateError, match="it is finished"):
            store.finish(apply, "done", 0)
        assert store.read() == before
