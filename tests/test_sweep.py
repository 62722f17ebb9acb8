"""What becomes of an orphan: by whose it is, how long it was there, and what stands on it or could not be read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from reconciler.apply.orphans import Orphan, Spot, Unread, Whose
from reconciler.plan.resources import Resource
from reconciler.state.store import SeenOrphan
from reconciler.sweep import Fate, Terms, judge, trace
from reconciler.workflow import Standing
from tests.apply.drivers.sample import DISK, IMAGE, VM

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
