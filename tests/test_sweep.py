"""What becomes of an orphan: by whose it is, how long it was there, and what stands on it or could not be read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler import workflow
from reconciler.apply.drivers.driver import Found
from reconciler.apply.drivers.table import DRIVERS
from reconciler.apply.observe import Observed, Surveyed
from reconciler.apply.orphans import Orphan, Spot, Unread, Whose, find_orphans
from reconciler.plan.resources import Resource
from reconciler.state.sql import open_store
from reconciler.state.store import SeenOrphan
from reconciler.sweep import Fate, Terms, judge, trace
from reconciler.workflow import Standing
from tests.apply.drivers.sample import DISK, IMAGE, VM
from tests.contracts.records import ANNA, LAB1, NETWORK, WORKER, allocation, perform, plan, port, router, steps

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
TEN = timedelta(minutes=10)


def orphan(resource: Resource, whose: Whose = Whose.OURS, users: tuple[Spot, ...] = ()) -> Orphan:
    spot = Spot(resource.host, resource.address, "thing")
    return Orphan(spot, resource, whose, (), "f00", users)


def judged(one: Orphan, *, ago: timedelta | None, unclaimed: bool = False, unread: tuple[Unread, ...] = ()) -> Fate:
    seen = [] if ago is None else [SeenOrphan(trace(one), NOW - ago, 1)]
    (verdict,) = judge(Standing((), (one,), unread), seen, NOW, Terms(TEN, unclaimed=unclaimed))
    return verdict.fate


def test_age_counts_from_the_first_sight_of_the_same_thing() -> None:
    one = orphan(VM)
    assert judged(one, ago=None) is Fate.FIRST
    assert judged(one, ago=TEN - timedelta(seconds=1)) is Fate.YOUNG
    assert judged(one, ago=-TEN) is Fate.YOUNG
    assert judged(one, ago=TEN) is Fate.REMOVE
    other = SeenOrphan(trace(replace(one, fingerprint="bar")), NOW - TEN, 5)
    assert judge(Standing((), (one,), ()), [other], NOW, Terms(TEN))[0].fate is Fate.FIRST


def test_what_is_not_surely_ours_to_judge_stays() -> None:
    assert judged(orphan(VM, Whose.OTHER), ago=TEN, unclaimed=True) is Fate.OTHER
    assert judged(orphan(VM, Whose.UNKNOWN), ago=TEN) is Fate.UNCLAIMED
    assert judged(orphan(VM, Whose.UNKNOWN), ago=TEN, unclaimed=True) is Fate.REMOVE
    assert judged(orphan(VM), ago=TEN, unread=(Unread(VM.host, "port", "no switch"),)) is Fate.UNREAD


def test_what_an_apply_is_just_making_or_changing_is_on_record(tmp_path: Path) -> None:
    store = open_store(tmp_path / "state.db", cluster="lab", clock=lambda: NOW)
    making, moved = port(100), replace(router(), namespace="rt-2000")
    perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, router()))))
    todo = steps((None, making), (router(), moved))
    apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "digest")
    things = tuple(Found(one) for one in (making, router(), moved))

    def found() -> set[str]:
        hosts = {
            host: Surveyed(tuple(one for one in things if one.resource.host == host), {}, {})
            for host in (WORKER, NETWORK)
        }
        known = workflow._all_recorded(store.read(None))
        orphans = find_orphans(Observed({}, {}, {}, {}, hosts), known, store.read().lineage, DRIVERS)
        return {orphan.spot.thing for orphan in orphans}

    assert found() == {making.tap, "rt-2000"}
    store.intend(apply, todo)
    assert found() == set()
    store.close()


def test_what_others_stand_on_waits_for_them() -> None:
    vm = orphan(VM)
    disk = orphan(DISK, users=(vm.spot,))
    image = orphan(IMAGE, users=(disk.spot,))
    seen = [SeenOrphan(trace(one), NOW - TEN, 1) for one in (image, disk)]
    fates = [one.fate for one in judge(Standing((), (image, disk, vm), ()), seen, NOW, Terms(TEN))]
    assert fates == [Fate.IN_USE, Fate.IN_USE, Fate.FIRST]
    seen.append(SeenOrphan(trace(vm), NOW - TEN, 1))
    fates = [one.fate for one in judge(Standing((), (image, disk, vm), ()), seen, NOW, Terms(TEN))]
    assert fates == [Fate.REMOVE] * 3
