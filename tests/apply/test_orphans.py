"""Orphans: what a survey finds and the state does not have, who owns it, and in which order it is removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from reconciler.apply.drivers.driver import Found
from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.observation.observe import HostSurvey, Observation
from reconciler.apply.observation.orphans import Orphan, Owner, find_orphans, free_of_use, removal_steps
from reconciler.plan.resources import Resource
from reconciler.spec.models.names import HostName
from tests.apply.drivers.sample import (
    DISK,
    EVERYTHING,
    HOST,
    IMAGE,
    LINKED_PORT,
    RESERVATION,
    ROUTER,
    SEED,
    SEGMENT,
    SLICE,
    UPLINK,
    VM,
)

OURS, OTHER = "0123", "4567"
BOTH = {OURS: {SLICE: 1, "@shared": 2}}


def survey(
    things: Iterable[Resource], fences: Mapping[str, Mapping[str, int]] = BOTH, recorded: Iterable[Resource] = ()
) -> tuple[Orphan, ...]:
    surveyed = HostSurvey(tuple(map(Found, things)), fences, {})
    hosts = {HOST: surveyed}
    return find_orphans(Observation({}, {}, {}, {}, hosts), recorded, OURS, DRIVERS)


def names(orphans: Iterable[Orphan]) -> set[str]:
    return {orphan.key.address for orphan in orphans}


def test_a_resource_is_no_orphan_but_another_object_with_its_address_is() -> None:
    assert survey(EVERYTHING, recorded=EVERYTHING) == ()
    moved = replace(VM, host=HostName("worker2"))
    assert names(survey([VM], recorded=[moved])) == {VM.address}
    (stray,) = survey([LINKED_PORT, replace(LINKED_PORT, tap="tap9999-1")], recorded=[LINKED_PORT])
    assert stray.key.name == "tap9999-1"


def test_fences_show_the_owner_of_an_orphan_and_any_other_state_comes_first() -> None:
    def whose(*fences: tuple[str, str]) -> tuple[Owner, tuple[str, ...]]:
        (orphan,) = survey([DISK], {lineage: {lock: 1} for lineage, lock in fences})
        return orphan.owner, orphan.lineages

    assert whose() == (Owner.UNKNOWN, ())
    assert whose((OURS, "alice/lab2")) == (Owner.UNKNOWN, ())
    assert whose((OURS, SLICE)) == (Owner.OURS, ())
    assert whose((OTHER, SLICE)) == (Owner.OTHER, (OTHER,))
    assert whose((OURS, SLICE), (OTHER, SLICE)) == (Owner.OTHER, (OTHER,))
    (image,) = survey([IMAGE], {OURS: {"@shared": 1}, OTHER: {SLICE: 1}})
    assert (image.owner, image.lock) == (Owner.OURS, "@shared")


def test_nothing_is_removed_while_something_else_depends_on_it() -> None:
    everything = survey(EVERYTHING)
    assert names(free_of_use(everything)) == {one.address for one in EVERYTHING}
    without_vm = survey(EVERYTHING, recorded=[VM])
    kept = {
        DISK.address,
        SEED.address,
        IMAGE.address,
        *(need for need in names(without_vm) if need.startswith("port/")),
    }
    assert names(without_vm) - names(free_of_use(without_vm)) == kept
    others = survey([ROUTER, SEGMENT, UPLINK, RESERVATION], recorded=[SEGMENT, RESERVATION])
    assert free_of_use(others) == ()


def test_dependants_are_removed_first() -> None:
    steps = removal_steps(survey(EVERYTHING))
    number = {step.address: step.id for step in steps}
    assert sorted(number.values()) == list(range(1, len(EVERYTHING) + 1))
    for before, after in (
        *((VM, DISK), (DISK, IMAGE), (VM, LINKED_PORT), (SEGMENT, ROUTER), (RESERVATION, UPLINK)),
        *((VM, trunk) for trunk in EVERYTHING if trunk.kind == "trunk"),
    ):
        assert number[before.address] < number[after.address]


def test_of_one_address_on_a_host_one_thing_goes_at_a_time() -> None:
    twice = survey([LINKED_PORT, replace(LINKED_PORT, tap="tap9999-1")])
    assert len(twice) == 2
    assert [step.address for step in removal_steps(twice)] == [LINKED_PORT.address]


def test_a_later_thing_on_the_same_spot_has_another_fingerprint() -> None:
    one, two = (
        find_orphans(
            Observation({}, {}, {}, {}, {HOST: HostSurvey((Found(LINKED_PORT, mark),), {}, {})}), (), OURS, DRIVERS
        )[0]
        for mark in ("7", "8")
    )
    assert (one.key, one.fingerprint != two.fingerprint) == (two.key, True)
