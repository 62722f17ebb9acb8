"""A rename changes every key of a slice in the transaction that opens its apply, on each database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.errors import StateMoved
from reconciler.plan.model import Plan
from reconciler.plan.renames import Rename, renamed_entry, renamed_state
from reconciler.plan.snapshot import Status
from reconciler.spec.models.names import LinkKey, SliceKey, VmName
from reconciler.state.sql.store import SqlStore
from reconciler.state.store import StateStore
from tests.contracts.states import ANNA, LAB1, LAB2, allocation, perform, plan, port, router, steps

NEW = SliceKey("anna/lab9")
RENAME = Rename(LAB1, NEW, ((VmName("a"), VmName("z")),))


def renaming(store: StateStore, rename: Rename = RENAME) -> Plan:
    """Form the plan of a rename, with the step that tells the hosts of it."""
    state = store.read()
    after = renamed_state(state, [rename])
    given = {rename.key: after.allocations[rename.key]}
    entries = [entry.resource for entry in after.resources.values() if entry.resource.slice == rename.key]
    todo = steps(*((one, one) for one in entries))
    return replace(plan(store, given, todo=todo), renames=(rename,))


def existing(store: StateStore) -> None:
    """Let the state have two slices, the first with a port and a router."""
    perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, router()), (None, port(100)))))
    perform(store, plan(store, {LAB2: allocation(1)}))


class TestRenames:
    def test_everything_of_the_slice_has_its_new_name_once_the_apply_is_open(self, store: SqlStore) -> None:
        existing(store)
        before = store.read()
        made = renaming(store)
        store.check_plan(made)
        store.begin(made, ANNA, "")
        after = store.read()
        assert after.allocations == renamed_state(before, [RENAME]).allocations
        assert list(after.allocations[NEW].links) == [LinkKey("b:eth1--z:eth1")]
        expected = [renamed_entry(entry, RENAME) for entry in before.resources.values()]
        assert {*after.resources.values()} == {*expected}
        assert all(entry.resource.formerly for entry in after.resources.values())
        assert store.read({LAB1}).resources == {}
        assert {*store.read({NEW}).resources} == {entry.resource.address for entry in expected}
        assert store.read().held == {}

    def test_hosts_know_the_new_names_once_the_steps_are_done(self, store: SqlStore) -> None:
        existing(store)
        perform(store, renaming(store))
        entries = store.read().resources.values()
        assert {(entry.status, entry.resource.formerly, entry.pending) for entry in entries} == {
            (Status.PRESENT, (), None)
        }

    def test_numbers_stay_taken_and_are_freed_with_the_renamed_slice(self, store: SqlStore) -> None:
        existing(store)
        perform(store, renaming(store))
        gone = [entry.resource for entry in store.read({NEW}).resources.values()]
        perform(store, plan(store, {}, todo=steps(*((one, None) for one in gone)), leaving=(NEW,)))
        assert {*store.read().allocations} == {LAB2}
        perform(store, plan(store, {LAB1: allocation()}))

    def test_only_a_vm_is_renamed(self, store: SqlStore) -> None:
        existing(store)
        perform(store, renaming(store, replace(RENAME, key=LAB1)))
        assert {*store.read().allocations[LAB1].vms} == {VmName("z")}
        assert f"port/{LAB1}/z:eth1" in store.read().resources

    @pytest.mark.parametrize("moved", [LAB1, NEW])
    def test_a_plan_is_stale_once_either_name_has_changed(self, store: SqlStore, moved: SliceKey) -> None:
        existing(store)
        made = renaming(store)
        numbers = allocation() if moved == LAB1 else allocation(2)
        perform(store, plan(store, {moved: numbers}))
        with pytest.raises(StateMoved):
            store.check_plan(made)
        with pytest.raises(StateMoved):
            store.begin(made, ANNA, "")
        assert LAB1 in store.read().allocations

    def test_it_cannot_be_done_twice(self, store: SqlStore) -> None:
        existing(store)
        made = renaming(store)
        perform(store, made)
        with pytest.raises(StateMoved):
            store.begin(replace(made, serial=store.read().serial), ANNA, "")

    def test_a_plan_that_gives_out_numbers_is_stale_after_it(self, store: SqlStore) -> None:
        existing(store)
        other = plan(store, {LAB2: allocation(1, vlans=(0, 1))})
        perform(store, renaming(store))
        with pytest.raises(StateMoved, match="numbers have been given out"):
            store.begin(other, ANNA, "")

    def test_a_name_that_a_destroyed_slice_is_leaving_can_be_taken(self, store: SqlStore) -> None:
        existing(store)
        store.begin(plan(store, {}, leaving=(NEW,)), ANNA, "")  # cut short before it did anything
        perform(store, renaming(store))
        assert {*store.read().allocations} == {NEW, LAB2}
