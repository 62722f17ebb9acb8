"""gc decides about an orphan by its owner, its age, what depends on it and what could not be read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.apply.drivers.driver import Found
from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.observation.observe import HostSurvey, Observation
from reconciler.apply.observation.orphans import ObjectKey, Orphan, Owner, Unread, find_orphans
from reconciler.plan.resources import Resource
from reconciler.state.sql.store import open_store
from reconciler.state.store import SeenOrphan
from reconciler.workflow import ClusterDrift
from reconciler.workflow.gc import GcAction, GcPolicy, decide, orphan_id
from reconciler.workflow.refresh import all_resources
from tests.apply.drivers.sample import DISK, IMAGE, VM
from tests.contracts.states import ANNA, LAB1, NETWORK, WORKER, allocation, perform, plan, port, router, steps

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
TEN = timedelta(minutes=10)


def orphan(resource: Resource, whose: Owner = Owner.OURS, users: tuple[ObjectKey, ...] = ()) -> Orphan:
    spot = ObjectKey(resource.host, resource.address, "thing")
    return Orphan(spot, resource, whose, (), "f00", users)


def action_for(
    one: Orphan, *, ago: timedelta | None, unclaimed: bool = False, unread: tuple[Unread, ...] = ()
) -> GcAction:
    seen = [] if ago is None else [SeenOrphan(orphan_id(one), NOW - ago, 1)]
    (decision,) = decide(ClusterDrift((), (one,), unread), seen, NOW, GcPolicy(TEN, unclaimed=unclaimed))
    return decision.action


def test_age_counts_from_the_first_run_that_found_the_same_object() -> None:
    one = orphan(VM)
    assert action_for(one, ago=None) is GcAction.FIRST
    assert action_for(one, ago=TEN - timedelta(seconds=1)) is GcAction.YOUNG
    assert action_for(one, ago=-TEN) is GcAction.YOUNG
    assert action_for(one, ago=TEN) is GcAction.REMOVE
    other = SeenOrphan(orphan_id(replace(one, fingerprint="bar")), NOW - TEN, 5)
    assert decide(ClusterDrift((), (one,), ()), [other], NOW, GcPolicy(TEN))[0].action is GcAction.FIRST


def test_an_object_that_may_not_be_ours_stays() -> None:
    assert action_for(orphan(VM, Owner.OTHER), ago=TEN, unclaimed=True) is GcAction.OTHER
    assert action_for(orphan(VM, Owner.UNKNOWN), ago=TEN) is GcAction.UNCLAIMED
    assert action_for(orphan(VM, Owner.UNKNOWN), ago=TEN, unclaimed=True) is GcAction.REMOVE
    assert action_for(orphan(VM), ago=TEN, unread=(Unread(VM.host, "port", "no switch"),)) is GcAction.UNREAD


def test_what_an_apply_is_creating_or_changing_is_no_orphan(tmp_path: Path) -> None:
    store = open_store(tmp_path / "state.db", cluster="lab", clock=lambda: NOW)
    making, moved = port(100), replace(router(), namespace="rt-2000")
    perform(store, plan(store, {LAB1: allocation()}, todo=steps((None, router()))))
    todo = steps((None, making), (router(), moved))
    apply = store.begin(plan(store, {LAB1: allocation()}, todo=todo), ANNA, "digest")
    things = tuple(Found(one) for one in (making, router(), moved))

    def found() -> set[str]:
        hosts = {
            host: HostSurvey(tuple(one for one in things if one.resource.host == host), {}, {})
            for host in (WORKER, NETWORK)
        }
        known = all_resources(store.read(None))
        orphans = find_orphans(Observation({}, {}, {}, {}, hosts), known, store.read().lineage, DRIVERS)
        return {orphan.key.name for orphan in orphans}

    assert found() == {making.tap, "rt-2000"}
    store.intend(apply, todo)
    assert found() == set()
    store.close()


def test_an_object_that_others_depend_on_waits_for_them() -> None:
    vm = orphan(VM)
    disk = orphan(DISK, users=(vm.key,))
    image = orphan(IMAGE, users=(disk.key,))
    seen = [SeenOrphan(orphan_id(one), NOW - TEN, 1) for one in (image, disk)]
    actions = [one.action for one in decide(ClusterDrift((), (image, disk, vm), ()), seen, NOW, GcPolicy(TEN))]
    assert actions == [GcAction.IN_USE, GcAction.IN_USE, GcAction.FIRST]
    seen.append(SeenOrphan(orphan_id(vm), NOW - TEN, 1))
    actions = [one.action for one in decide(ClusterDrift((), (image, disk, vm), ()), seen, NOW, GcPolicy(TEN))]
    assert actions == [GcAction.REMOVE] * 3
