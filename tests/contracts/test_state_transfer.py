"""Exporting and importing whole states, from each database into each, and forgetting resources."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from sqlalchemy import select

from reconciler.errors import StateError, StateLocked, StateUnreadable
from reconciler.plan.results import StepResult, StepStatus
from reconciler.plan.snapshot import SHARED, Claim, Status
from reconciler.state.export import Export, read_export, write_export
from reconciler.state.sql import schema
from reconciler.state.sql.store import SqlStore
from reconciler.state.store import Holder, OrphanId
from tests.contracts.conftest import Database
from tests.contracts.postgres import empty_schema
from tests.contracts.states import (
    ANNA,
    LAB1,
    LAB2,
    NOUNS,
    WORKER,
    allocation,
    image,
    perform,
    plan,
    port,
    router,
    steps,
)

BERT = Holder("bert", "ctl1", os.getpid())
TABLES = (
    *(schema.meta, schema.slices, schema.allocations, schema.claims, schema.resources, schema.applies, schema.orphans),
)


@pytest.fixture
def full(store: SqlStore) -> SqlStore:
    """Fill a state with every noun, an unfinished change, held claims, a slice that leaves, and hostile words."""
    perform(store, plan(store, {LAB1: allocation(vlans=(0, 1))}, todo=steps(*((None, noun) for noun in NOUNS))))
    changes = steps((port(100), port(101)))
    apply = store.begin(plan(store, {LAB1: allocation(vlans=(1,))}, todo=changes), ANNA, "abc")
    store.intend(apply, changes)
    store.record(apply, [StepResult(changes[0], StepStatus.UNKNOWN, "cut; \N{SNOWMAN} '\"\n\x1b[0m")])
    perform(store, plan(store, {LAB2: allocation(1)}, todo=steps((None, router(LAB2)))))
    store.begin(plan(store, {}, todo=steps((router(LAB2), None)), leaving=(LAB2,)), ANNA, "def")
    store.see_orphans([OrphanId(WORKER, port(100).address, "f00")], {WORKER})
    return store


def rows(store: SqlStore) -> dict[str, list[tuple[object, ...]]]:
    """Return what every table holds, in an order that is no database's."""
    with store._engine.connect() as connection:
        found = {table.name: [tuple(row) for row in connection.execute(select(table))] for table in TABLES}
        steps_of_applies = [column for column in schema.journal.c if column.name != "id"]
        found["journal"] = [
            tuple(row) for row in connection.execute(select(*steps_of_applies).order_by(schema.journal.c.id))
        ]
    return {name: sorted(entries, key=repr) if name != "journal" else entries for name, entries in found.items()}


def nowhere(before: Export) -> None:
    pytest.fail(f"there was nothing to keep, but {before.serial}")


class TestRoundTrip:
    @pytest.mark.parametrize(
        "other", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], ids="into {}".format
    )
    def test_a_state_is_the_same_after_it_was_moved(
        self, full: SqlStore, other: str, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        text = write_export(full.export())
        where = f"sqlite:///{tmp_path}/other.db"
        if other == "postgresql":
            where = empty_schema(request.getfixturevalue("postgres_port"))
        target = Database(where).open()
        try:
            target.import_state(read_export(text, "file"), ANNA, nowhere)
            assert write_export(target.export()) == text
            assert rows(target) == rows(full)
            assert target.read() == full.read()
            assert target.history() == full.history()
        finally:
            target.close()

    def test_a_moved_state_goes_on(self, full: SqlStore, tmp_path: Path) -> None:
        target = Database(f"sqlite:///{tmp_path}/other.db").open()
        target.import_state(full.export(), ANNA, nowhere)
        for store in (full, target):
            apply = perform(store, plan(store, {}, todo=steps((router(LAB2), None)), leaving=(LAB2,)))
            assert apply == 5
            assert LAB2 not in store.read().allocations
            assert [entry.status for entry in store.journal(apply)] == ["done"]
        target.close()

    def test_an_export_of_the_first_format_is_still_read(self, full: SqlStore) -> None:
        data = json.loads(write_export(full.export().model_copy(update={"format": 1})))
        del data["orphans"], data["digest"]
        sealed = json.dumps(data, separators=(",", ":"), sort_keys=True)
        data["digest"] = f"sha256:{hashlib.sha256(sealed.encode()).hexdigest()}"
        assert read_export(json.dumps(data), "file") == full.export().model_copy(update={"format": 1, "orphans": ()})

    def test_an_empty_state_is_exported_too(self, store: SqlStore) -> None:
        export = read_export(write_export(store.export()), "file")
        assert (export.serial, export.slices, export.resources, export.history) == (0, (), (), ())


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "file is not an exported state: it is not JSON"),
            ("[]", "file is not an exported state$"),
            ('{"lineage": 1, "digest": "", "format": 5}', "written by another version .its format is 5"),
        ],
        ids=["empty", "a list", "newer"],
    )
    def test_what_is_no_export_is_refused(self, text: str, reason: str) -> None:
        with pytest.raises(StateUnreadable, match=reason):
            read_export(text, "file")

    def test_every_edit_is_noticed(self, full: SqlStore) -> None:
        text = write_export(full.export())
        for before, after in (('"serial": 12', '"serial": 13'), ("br-int", "br-ext"), ('"bob/lab2"', '"bob/lab3"')):
            assert before in text
            with pytest.raises(StateUnreadable, match="digest does not match its content"):
                read_export(text.replace(before, after), "file")

    def test_a_truncated_file_is_refused(self, full: SqlStore) -> None:
        text = write_export(full.export())
        for length in range(0, len(text) - 2, 997):
            with pytest.raises(StateUnreadable, match="is not JSON"):
                read_export(text[:length], "file")

    def test_a_sealed_file_is_read_strictly_all_the_same(self, full: SqlStore) -> None:
        data = full.export()
        twice = data.model_copy(update={"slices": (*data.slices, data.slices[0])})
        odd = data.resources[0].model_copy(update={"resource": {"kind": "song"}})
        for forged in (twice, data.model_copy(update={"resources": (odd,)})):
            with pytest.raises(StateUnreadable, match="its content cannot be read"):
                read_export(write_export(forged), "file")

    def test_another_cluster_lineage_or_past_is_refused(self, full: SqlStore) -> None:
        export, before = full.export(), rows(full)
        for forged, reason in (
            ({"cluster": "prod"}, "is of cluster prod, not of lab"),
            ({"lineage": "5f0e2c"}, r"is another one .its lineage is 5f0e2c, this one's"),
            ({"serial": export.serial - 1}, "is older .its serial is"),
        ):
            copy = export.model_copy(update=forged)
            with pytest.raises(StateError, match=reason):
                full.check_import(copy)
            with pytest.raises(StateError, match=reason):
                full.import_state(copy, ANNA, nowhere)
        assert rows(full) == before

    def test_nothing_is_taken_in_while_somebody_works(self, full: SqlStore) -> None:
        export = full.export()
        with full.lock([LAB1], BERT), pytest.raises(StateLocked, match="alice/lab1 is being changed by bert"):
            full.import_state(export, ANNA, nowhere)


class TestTakingIn:
    def test_what_was_here_is_kept_first_and_tokens_never_go_back(self, full: SqlStore) -> None:
        export = full.export()
        with full.lock([LAB1, SHARED], ANNA) as (_, last):
            pass
        kept: list[Export] = []
        full.import_state(export, ANNA, kept.append)
        assert [before.serial for before in kept] == [export.serial]
        with full.lock([LAB1], ANNA) as (lock,):
            assert lock.token > last.token

    def test_a_failed_copy_leaves_the_state_as_it_was(self, full: SqlStore) -> None:
        export, before = full.export(), rows(full)

        def no_room(_: Export) -> None:
            raise StateError("no room")

        with pytest.raises(StateError, match="no room"):
            full.import_state(export.model_copy(update={"resources": ()}), ANNA, no_room)
        assert rows(full) == before


class TestForgetting:
    def test_a_forgotten_resource_is_as_one_confirmed_gone(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation(vlans=(0, 1))}, todo=steps((None, router()), (None, port(100)))))
        todo = steps((port(100), port(101)))
        apply = store.begin(plan(store, {LAB1: allocation(vlans=(1,))}, todo=todo), ANNA, "")
        store.intend(apply, todo)
        store.finish(apply, "interrupted", 0)
        assert Claim("vlan", "", "100") in store.read().held[LAB1]
        serial = store.read().serial
        gone = store.forget([port(100).address])
        after = store.read()
        assert (gone[port(100).address].status, gone[port(100).address].pending) == (Status.UNKNOWN, port(101))
        assert (list(after.resources), after.serial, after.held) == ([router().address], serial + 1, {})

    def test_a_leaving_slice_leaves_with_its_last_resource(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, router()))))
        store.begin(plan(store, {}, todo=steps((router(), None)), leaving=(LAB1,)), ANNA, "")
        store.forget([router().address])
        assert (store.read().resources, store.read().allocations, store.read().held) == ({}, {}, {})

    def test_a_plan_made_before_is_stale(self, store: SqlStore) -> None:
        perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, image()))))
        made = plan(store, {LAB1: allocation()})
        assert store.forget(["vm/none/none/none", image().address]).keys() == {image().address}  # type: ignore[list-item]
        with pytest.raises(StateError, match="what slices share has changed"):
            store.begin(made, ANNA, "")


def test_unlocking_spares_a_later_holder(store: SqlStore) -> None:
    with store.lock([LAB1], BERT) as (lock,):
        assert store.force_unlock(LAB1, lock.token + 1) is None
        assert store.locks() == (lock,)
        assert store.force_unlock(LAB1, lock.token) == lock
    assert store.locks() == ()


def test_an_export_is_sorted_and_ends_with_a_newline(full: SqlStore) -> None:
    text = write_export(full.export())
    data = json.loads(text)
    assert text.endswith("}\n")
    assert [entry["key"] for entry in data["slices"]] == ["alice/lab1", "bob/lab2"]
    addresses = [entry["resource"]["address"] for entry in data["resources"]]
    assert addresses == sorted(addresses)
