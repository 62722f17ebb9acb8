"""The memory of settled slices: plans with it are the plans without it, and unchanged slices are not read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from reconciler import workflow
from reconciler.plan.model import Plan
from reconciler.plan.resources import Resource
from reconciler.plan.results import StepResult, StepStatus
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.models.names import Address, SliceKey
from reconciler.state.reader import read_state
from reconciler.state.sql.store import SqlStore, open_store
from reconciler.state.store import Holder, StateReader
from reconciler.workflow.caches import FEW
from reconciler.workflow.settled import SettledSlices
from tests.bench.topologies import slice_text, write_cluster

ADMIN = Holder("admin", "here", 1)
NAMES = [f"slice{number:02}" for number in range(FEW + 2)]
KEYS = {SliceKey(f"admin/{name}") for name in NAMES}


class Site:
    """A folder of slices that are all in the state, and the memory of what is settled."""

    def __init__(self, root: Path) -> None:
        self.folder = write_cluster(root / "campus", "campus", NAMES)
        for name in NAMES:
            self.write(name, 2)
        self.state = root / "state.db"
        self.memory = SettledSlices(root / "caches" / "settled.json")
        self.place = root / "caches" / "settled.json"
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def write(self, name: str, vms: int) -> None:
        (self.folder / f"{name}.yaml").write_text(slice_text(name, vms, distances=(1,)))

    def inputs(self) -> workflow.Inputs:
        return workflow.load(self.folder / "cluster.yaml", [self.folder])

    def now(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time

    def store(self) -> closing[SqlStore]:
        return closing(open_store(self.state, cluster="campus", clock=self.now))

    def apply(self, *names: str) -> None:
        """Write what the files say into the state, as an apply that completes does."""
        paths = [self.folder / f"{name}.yaml" for name in names] or [self.folder]
        inputs = workflow.load(self.folder / "cluster.yaml", paths)
        with self.store() as store:
            planned = workflow.plan(inputs, store)
            number = store.begin(planned, ADMIN, "")
            store.intend(number, planned.steps)
            store.record(number, [StepResult(step, StepStatus.DONE) for step in planned.steps])
            store.finish(number, "done", 0)

    def plan(self) -> tuple[Plan, Collection[SliceKey]]:
        """Plan with the memory; also returns the slices whose resources were read."""
        inputs = self.inputs()
        with closing(read_state(self.state, cluster="campus", clock=self.now)) as reader:
            spy = Spy(reader)
            planned = workflow.plan_unsettled(inputs, cast("StateReader", spy), workflow.NOTHING_ELSE, self.memory)
            assert planned == workflow.plan(inputs, reader)
        return planned, spy.scope


class Spy:
    """A reader that remembers the scope of all reads."""

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader
        self.scope: set[SliceKey] = set()
        self.before: Callable[[], None] = lambda: None

    def read(self, scope: Collection[SliceKey] | None = None) -> StateSnapshot:
        assert scope is not None
        self.before()
        self.scope |= set(scope)
        return self._reader.read(scope)

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.apply()
    planned, read = made.plan()
    assert planned.empty
    assert read == KEYS
    yield made
    made.plan()


def test_slices_that_needed_no_change_are_not_read_again(site: Site) -> None:
    planned, read = site.plan()
    assert planned.empty
    assert read == set()
    assert set(planned.slices) == KEYS
    assert site.place.stat().st_mode & 0o777 == 0o600


def test_a_changed_file_is_planned_and_no_other(site: Site) -> None:
    site.write("slice03", 3)
    planned, read = site.plan()
    assert not planned.empty
    assert read == {"admin/slice03"}
    assert site.plan()[1] == {"admin/slice03"}, "a slice with changes is not settled"
    site.apply("slice03")
    assert site.plan()[1] == {"admin/slice03"}
    assert site.plan()[1] == set()


def test_a_new_slice_is_planned_and_no_other(site: Site) -> None:
    site.write("another", 2)
    planned, read = site.plan()
    assert {change.subject.slice for change in planned.changes} == {"admin/another"}
    assert read == {"admin/another"}


def test_a_changed_cluster_file_settles_nothing(site: Site) -> None:
    file = site.folder / "cluster.yaml"
    file.write_text(file.read_text().replace("256MiB", "512MiB"))
    planned, read = site.plan()
    assert not planned.empty
    assert read == KEYS


def _forget(site: Site, chosen: Callable[[Resource], bool]) -> Address:
    with site.store() as store:
        found = store.read()
        where = min(where for where, entry in found.resources.items() if chosen(entry.resource))
        store.forget([where])
    return where


def test_a_slice_that_changed_in_the_state_is_planned(site: Site) -> None:
    where = _forget(site, lambda resource: resource.slice == "admin/slice05")
    planned, read = site.plan()
    assert [change.address for change in planned.changes] == [where]
    assert read == {"admin/slice05"}


def test_all_slices_are_compared_if_what_they_share_changes(site: Site) -> None:
    where = _forget(site, lambda resource: resource.slice is None)
    planned, read = site.plan()
    assert [change.address for change in planned.changes] == [where]
    assert read == KEYS


def test_a_restored_state_settles_nothing_that_later_applies_changed(site: Site) -> None:
    copy = site.state.with_suffix(".copy")
    shutil.copy(site.state, copy)
    for vms in (3, 4):
        site.write("slice07", vms)
        site.apply("slice07")
    assert site.plan()[0].empty
    assert site.plan()[1] == set()
    shutil.copy(copy, site.state)
    site.time += timedelta(hours=1)
    for vms in (3, 5):
        site.write("slice07", vms)
        site.apply("slice07")
    site.write("slice07", 4)
    planned, _ = site.plan()
    assert not planned.empty, "the serials are those of the lost applies, the content is not"


def test_renewed_images_and_the_memory_agree(site: Site) -> None:
    file = site.folder / "cluster.yaml"
    file.write_text(file.read_text().replace('sha256: "000', 'sha256: "abc'))
    assert site.plan()[0].empty
    assert site.plan()[1] == set()
    where = _forget(site, lambda resource: resource.kind == "image")
    planned, _ = site.plan()
    assert where not in {change.address for change in planned.changes if change.after is not None}
    assert planned.data_lost


def test_another_state_settles_nothing(site: Site) -> None:
    site.state.unlink()
    planned, _ = site.plan()
    assert {change.subject.slice for change in planned.changes} >= KEYS


def test_a_damaged_memory_is_ignored(site: Site) -> None:
    for damaged in ("", "[]", "{", '{"pins": {"admin/slice01": 3}}', '{"pins": {}, "more": 1}', "[" * 100_000):
        site.place.write_text(damaged)
        assert site.plan()[1] == KEYS
        assert site.plan()[1] == set()


def test_few_slices_are_compared_without_a_memory(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for name in NAMES[2:]:
        (site.folder / f"{name}.yaml").unlink()
    site.apply()
    site.plan()
    assert not site.place.exists()


def test_an_apply_meanwhile_makes_the_memory_useless(site: Site) -> None:
    inputs = site.inputs()
    with closing(read_state(site.state, cluster="campus", clock=site.now)) as reader:
        spy = Spy(reader)

        def meanwhile() -> None:
            spy.before = lambda: None
            _forget(site, lambda resource: resource.slice == "admin/slice05")

        spy.before = meanwhile
        planned = workflow.plan_unsettled(inputs, cast("StateReader", spy), workflow.NOTHING_ELSE, site.memory)
        assert len(planned.changes) == 1
        assert planned == workflow.plan(inputs, reader)
