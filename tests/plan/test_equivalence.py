"""Tests whether a plan that was built again from a changed state makes the same changes, or differs only in numbers."""

from __future__ import annotations

from dataclasses import replace

from reconciler.plan.equivalence import same_but_for_numbers, same_work
from reconciler.plan.model import Plan
from reconciler.plan.resources import Disk, address
from reconciler.plan.snapshot import ResourceDrift, Seen, StateSnapshot
from reconciler.spec.models.names import Address, Bytes
from tests.plan.examples import EMPTY, LAB1, LAB2, lab, plan
from tests.plan.replay import replay

LINKED = lab(links=[{"endpoints": ["a", "b"]}])
OTHERS: StateSnapshot = replay(EMPTY, plan(lab(["x"], key=LAB2)))


def test_a_new_slice_with_other_numbers_is_the_same_but_for_these() -> None:
    first, again = plan(LINKED), plan(LINKED, state=OTHERS)
    assert first.allocations != again.allocations
    assert {item.address for item in first.changes} != {item.address for item in again.changes}  # other workers
    assert not same_work(first, again)
    assert same_but_for_numbers(first, again)


def test_a_plan_is_the_same_as_itself() -> None:
    assert same_work(plan(LINKED), plan(LINKED))
    assert same_but_for_numbers(plan(LINKED), plan(LINKED))


def test_another_new_thing_is_more_than_a_number() -> None:
    assert not same_but_for_numbers(plan(LINKED), plan(lab("abc", [{"endpoints": ["a", "b"]}])))


def test_another_change_to_what_is_there_is_more_than_a_number() -> None:
    created = replay(EMPTY, plan(LINKED))
    larger, largest = (lab({"a": {"memory": size}, "b": {}, "c": {}}, LINKED.links) for size in ("512MiB", "1GiB"))
    assert same_but_for_numbers(plan(larger, state=created), plan(larger, state=created))
    assert not same_but_for_numbers(plan(larger, state=created), plan(largest, state=created))


def test_an_empty_disk_in_the_place_of_a_lost_one_is_nothing_new() -> None:
    where = address(Disk, f"{LAB1}/a")
    lost = plan(LINKED, state=replay(EMPTY, plan(LINKED)).seen(Seen({where: ResourceDrift(gone=True)})))
    assert [item.address for item in lost.data_lost] == [where]
    assert same_but_for_numbers(plan(LINKED), _resized(plan(LINKED), where))
    assert not same_but_for_numbers(lost, _resized(lost, where))


def _resized(made: Plan, where: Address) -> Plan:
    """Return a plan with another size for a disk."""
    changes = []
    for item in made.changes:
        if item.address == where and isinstance(item.after, Disk):
            changes.append(replace(item, after=replace(item.after, size=Bytes(1))))
        else:
            changes.append(item)
    return replace(made, changes=tuple(changes))
