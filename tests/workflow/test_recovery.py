"""A state is rebuilt from the copies that hosts keep, as far as the hosts have what these say."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler import workflow
from reconciler.apply.observation.observe import Observation
from reconciler.apply.observation.owners import HostRecords
from reconciler.apply.transport.claim import HostOwner
from reconciler.errors import HostUnreachable
from reconciler.plan.model import Plan
from reconciler.plan.resources import Resource, from_data, to_data
from reconciler.plan.results import StepResult, StepStatus
from reconciler.spec.models.names import HostName
from reconciler.state.export import Export, read_export, write_export
from reconciler.state.hostcopy import StateCopy, decode_copy, encode_copy
from reconciler.state.sql.store import SqlStore, open_store
from reconciler.state.store import Holder
from reconciler.workflow.ownership import copies_of, settled_copies
from reconciler.workflow.recovery import Recovery, candidates, choose_copies, recover
from reconciler.workflow.steps import OpenApply
from tests.bench.topologies import slice_text, write_cluster

ADMIN = Holder("admin", "here", 1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("one", "two", "three")


class Place:
    """A folder of slices, a state of it, and the copies that its hosts have."""

    def __init__(self, root: Path, name: str = "state") -> None:
        self.folder = root / "campus"
        self.state = root / f"{name}.db"
        self.copies: dict[str, StateCopy] = {}
        self.lineage = ""

    def store(self) -> closing[SqlStore]:
        return closing(open_store(self.state, cluster="campus", clock=lambda: NOW))

    def apply(self, *names: str, destroy: tuple[str, ...] = (), killed: bool = False) -> Plan:
        """Write into the state what an apply of these files writes, and on the hosts the copies that it leaves."""
        inputs = workflow.load(self.folder / "cluster.yaml", [self.folder / f"{name}.yaml" for name in names])
        with self.store() as store:
            keys = workflow.find_slices(store, destroy)
            planned = workflow.plan(inputs, store, workflow.Asked(destroy=keys))
            number = store.begin(planned, ADMIN, "")
            self.lineage = store.read(()).lineage
            opened = OpenApply(self.lineage, number, store, ())
            self.keep(copies_of(store.read(planned.slices), planned, opened))
            if not killed:
                store.intend(number, planned.steps)
                store.record(number, [StepResult(step, StepStatus.DONE) for step in planned.steps])
                store.finish(number, "done", 0)
                self.keep(settled_copies(store.read(None), planned, opened))
        return planned

    def keep(self, copies: Iterable[StateCopy]) -> None:
        self.copies |= {copy.name: copy for copy in copies}

    def resources(self) -> list[Resource]:
        with self.store() as store:
            return [from_data(entry.resource) for entry in store.export().resources]

    def record(self, *, apply: int = 9, token: int = 40) -> HostRecords:
        owner = HostOwner(self.lineage, apply, "", "campus", "admin on host here", str(self.state))
        texts = tuple((name, encode_copy(copy)) for name, copy in self.copies.items())
        return HostRecords(owner, texts, {self.lineage: {"@shared": token}})


def seen(existing: Iterable[Resource], asked: Iterable[Resource], down: tuple[str, ...] = ()) -> Observation:
    """Return what hosts show that have these resources."""
    found = {(each.host, each.address): to_data(each) for each in existing}
    asked = [each for each in asked if each.host not in down]
    keys = [(each.host, each.address) for each in asked]
    unreachable = {HostName(host): HostUnreachable(host, "it is off") for host in down}
    attributes = {
        key: {name: value for name, value in found[key].items() if name not in {"kind", "needs", "after"}}
        if key in found
        else None
        for key in keys
    }
    return Observation(dict.fromkeys(keys), attributes, {}, unreachable)


def rebuild(base: Export, *records: HostRecords, existing: Iterable[Resource], down: tuple[str, ...] = ()) -> Recovery:
    existing = list(existing)
    copies = choose_copies({HostName(f"worker{number}"): each for number, each in enumerate(records)}, base)
    found = candidates(copies, base)
    former = [each.former for each in found if each.former is not None]
    now = seen(existing, [each.resource for each in found], down)
    return recover(base, copies, found, now, seen(existing, former, down), holder=ADMIN, now=NOW)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    write_cluster(tmp_path / "campus", "campus", NAMES)
    for name in NAMES:
        (tmp_path / "campus" / f"{name}.yaml").write_text(slice_text(name, 2, distances=(1,)))
    return Place(tmp_path)


@pytest.fixture
def empty(place: Place) -> Export:
    other = Place(place.folder.parent, "empty")
    with other.store() as store:
        return store.export()


def imported(place: Place, found: Recovery) -> Callable[[], closing[SqlStore]]:
    """Write a rebuilt state to a new place, through the file of an export, and return how to open it."""
    fresh = Place(place.folder.parent, "fresh")
    with fresh.store() as store:
        store.import_state(read_export(write_export(found.export), "it"), ADMIN, lambda _: None)
    return fresh.store


def planned(place: Place, open_it: Callable[[], closing[SqlStore]], *names: str) -> Plan:
    inputs = workflow.load(place.folder / "cluster.yaml", [place.folder / f"{name}.yaml" for name in names])
    with open_it() as store:
        return workflow.plan(inputs, store)


@pytest.mark.parametrize("killed", [False, True])
def test_a_renamed_slice_is_rebuilt_under_its_new_name(place: Place, empty: Export, *, killed: bool) -> None:
    place.apply("one")
    text = slice_text("one", 2, distances=(1,))
    (place.folder / "one.yaml").write_text(text.replace("name: one", "name: four\nrenamed_from: one"))
    place.apply("one", killed=killed)
    if not killed:
        del place.copies["admin@one"]  # as an apply does at its end
    found = rebuild(empty, place.record(), existing=place.resources())
    assert [one.slice for one in found.slices] == ["admin/four"]
    assert (found.clashing, found.gone) == ((), ())
    rebuilt = planned(place, imported(place, found), "one")
    assert rebuilt.empty if not killed else rebuilt.counts.renamed == len(rebuilt.changes) > 0


def test_a_copy_is_what_it_was_after_it_was_written_and_read(place: Place) -> None:
    place.apply("one", "two")
    for copy in place.copies.values():
        assert decode_copy(encode_copy(copy)) == copy


@pytest.mark.parametrize("text", ["", "abc", "aGVsbG8=", base64.b64encode(zlib.compress(b'{"format":9}')).decode()])
def test_any_other_text_is_no_copy(text: str) -> None:
    with pytest.raises(ValueError, match="copy of a state"):
        decode_copy(text)


def test_a_copy_that_would_fill_the_memory_is_refused() -> None:
    bomb = base64.b64encode(zlib.compress(b'"' + b"a" * (2**28 + 5) + b'"', 9)).decode()
    with pytest.raises(ValueError, match="not a copy"):
        decode_copy(bomb)


def test_the_state_is_as_it_was(place: Place, empty: Export) -> None:
    place.apply("one", "two")
    place.apply("three")
    place.apply(destroy=("two",))
    found = rebuild(empty, place.record(), existing=place.resources())
    assert [(each.slice, each.missing, each.unknown) for each in found.slices] == [
        ("admin/one", (), 0),
        ("admin/three", (), 0),
    ]
    assert found.export.lineage == place.lineage
    fresh = imported(place, found)
    assert planned(place, fresh, "one", "three").empty
    with place.store() as old, fresh() as new:
        before, after = old.export(), new.export()
    assert (after.resources, [each.allocation for each in after.slices]) == (
        before.resources,
        [each.allocation for each in before.slices],
    )
    assert (after.counters.vm_id, after.counters.token, after.counters.applies) == (before.counters.vm_id, 40, 10)
    assert after.serial > before.serial


def test_what_is_missing_is_created_again_and_a_slice_of_which_nothing_exists_is_left_out(
    place: Place, empty: Export
) -> None:
    place.apply("one", "two")
    existing = [each for each in place.resources() if each.slice != "admin/two" and each.kind != "vm"]
    found = rebuild(empty, place.record(), existing=existing)
    assert found.gone == ("admin/two",)
    assert {str(each).partition("/")[0] for each in found.slices[0].missing} == {"vm"}
    again = planned(place, imported(place, found), "one")
    assert {(change.action, change.subject.kind) for change in again.changes if change.subject.slice} == {
        ("create", "vm")
    }


def test_a_host_that_is_off_keeps_what_it_has(place: Place, empty: Export) -> None:
    place.apply("one")
    hosts = {each.host for each in place.resources()}
    found = rebuild(empty, place.record(), existing=(), down=tuple(hosts))
    assert (found.gone, found.slices[0].missing) == ((), ())
    assert found.slices[0].unknown > 0
    assert planned(place, imported(place, found), "one").empty


def test_an_apply_that_was_killed_is_known_from_what_it_was_to_do(place: Place, empty: Export) -> None:
    place.apply("one")
    existing = place.resources()
    file = place.folder / "one.yaml"
    file.write_text(slice_text("one", 3, distances=(1,)))
    place.apply("one", killed=True)
    assert any(copy.former for copy in place.copies.values()), "something was to be changed"
    found = rebuild(empty, place.record(), existing=existing)
    fresh = imported(place, found)
    with fresh() as store:
        present = {where for where, entry in store.read(None).resources.items() if entry.status.value == "present"}
    assert present == {each.address for each in existing}
    file.write_text(slice_text("one", 2, distances=(1,)))
    again = planned(place, fresh, "one")
    assert not again.data_lost
    assert {change.subject.address for change in again.changes}.isdisjoint(
        each.address for each in existing if each.holds_data
    )


def test_two_states_that_gave_out_the_same_numbers_do_not_both_come_back(place: Place, empty: Export) -> None:
    place.apply("one")
    other = Place(place.folder.parent, "other")
    other.apply("two")
    own = [place.record(apply=1), place.record(apply=1), other.record(apply=1)]
    found = rebuild(empty, *own, existing=[*place.resources(), *other.resources()])
    assert [each.slice for each in found.slices] == ["admin/one"], "most hosts belong to its state"
    assert (found.clashing, found.others) == (("admin/two",), (other.lineage,))
    assert planned(place, imported(place, found), "one").empty


def test_a_state_that_is_current_is_not_changed_and_an_older_copy_is(place: Place) -> None:
    place.apply("one")
    with place.store() as store:
        older = store.export()
    place.apply("two")
    with place.store() as store:
        current = store.export()
    existing = place.resources()
    assert not rebuild(current, place.record(apply=2), existing=existing).changed
    found = rebuild(older, place.record(apply=2), existing=existing)
    assert (found.changed, [each.slice for each in found.slices]) == (True, ["admin/one", "admin/two"])
    assert planned(place, imported(place, found), "one", "two").empty


def test_a_copy_that_was_cut_short_is_named(place: Place, empty: Export) -> None:
    place.apply("one")
    record = place.record()
    cut = replace(record, copies=tuple((name, text[:40]) for name, text in record.copies))
    found = rebuild(empty, cut, record, existing=place.resources())
    assert "admin@one on worker0" in found.damaged
    assert [each.slice for each in found.slices] == ["admin/one"]
