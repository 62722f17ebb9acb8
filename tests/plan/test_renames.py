"""Renamed slices, VMs and owners: nothing is made again or lost, every number stays, and only names change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from reconciler.errors import LimitError, PlanError
from reconciler.plan.build import build_plan
from reconciler.plan.data_loss import unasked_losses
from reconciler.plan.model import Action, Plan
from reconciler.plan.planfile import SavedPlan, plan_digest, read_plan, write_plan
from reconciler.plan.renames import Rename, renamed_address, renamed_allocation, renamed_state
from reconciler.plan.resources import Disk, Seed, Segment, Vm, to_data
from reconciler.plan.snapshot import StateSnapshot, Status, claims
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.fields import UpdatePolicy
from reconciler.spec.models.names import Address, LinkKey, SliceKey, VmName
from reconciler.views.plan_text import render_text
from tests.plan.examples import EMPTY, LAB1, cluster, lab, made_of, plan
from tests.plan.replay import replay
from tests.plan.strategies import slices

NEW = SliceKey("alice/lab9")
MOVED = SliceKey("carol/lab1")
USER_DATA = "#!/bin/sh\necho hello\n"
VMS: dict[str, Any] = {"a": {"internet": True, "cloud_init": USER_DATA}, "b": {}, "m": {}}
LINKS = [["a:eth1", "m:eth1"], ["b:eth1", "m:eth2"]]
OLD = lab(VMS, LINKS)
STATE: StateSnapshot = replay(EMPTY, plan(OLD))
RENAMED = lab(VMS, LINKS, key=NEW, renamed_from="lab1")
CAROL = cluster(users={"carol": {"renamed_from": "alice"}, "bob": {}})


def with_vm(former: str, name: str, **more: Any) -> ExpandedSlice:
    """Return the first slice with one of its VMs renamed."""
    vms = {name if vm == former else vm: settings for vm, settings in VMS.items()}
    vms[name] = vms[name] | {"renamed_from": former} | more
    return lab(vms, [[end.replace(f"{former}:", f"{name}:") for end in link] for link in LINKS])


def applied(made: Plan, state: StateSnapshot = STATE) -> StateSnapshot:
    """Return the state after a plan with renames."""
    return replay(renamed_state(state, made.renames), made)


def only_names(made: Plan) -> bool:
    """Whether a plan only renames: each resource of the slice is updated in place, and nothing is lost or restarts."""
    counts = made.counts
    quiet = (counts.add, counts.replace, counts.destroy, counts.restarts, counts.interrupted, counts.lost) == (0,) * 6
    return quiet and counts.renamed == counts.change == len(made.changes) and not made.disturbed


def addresses(state: StateSnapshot) -> dict[str, str]:
    """Return the address of each NIC that DHCP serves, by its MAC."""
    every = (entry.resource for entry in state.resources.values())
    return {lease.mac: lease.ip for one in every if isinstance(one, Segment) for lease in one.leases}


def test_a_slice_keeps_all_that_it_has() -> None:
    made = plan(RENAMED, state=STATE)
    assert only_names(made)
    assert len(made.changes) == sum(entry.resource.slice == LAB1 for entry in STATE.resources.values())
    assert not any(change.attributes for change in made.changes)
    assert made.allocations == {NEW: replace(STATE.allocations[LAB1], formerly=(LAB1,))}
    assert made.counters == STATE.counters
    after = applied(made)
    assert plan(RENAMED, state=after).empty
    assert LAB1 not in after.allocations


def test_the_plan_says_what_was_renamed() -> None:
    text = render_text(plan(RENAMED, state=STATE), full=True)
    assert "    ~ disk/alice/lab9/a on worker1  # update: renamed from disk/alice/lab1/a\n" in text
    assert text.endswith("0 to add, 22 to change, 0 to replace, 0 to destroy. 22 renamed.\n")


def test_many_renamed_vms_are_counted_by_kind() -> None:
    vms = [f"vm{number}" for number in range(5)]
    state = replay(EMPTY, plan(lab(vms)))
    text = render_text(plan(lab(vms, key=NEW, renamed_from="lab1"), state=state))
    assert "    ~ 5 disks, 5 ports, 5 vms  # update: renamed from alice/lab1\n" in text


@pytest.mark.parametrize(("former", "name"), [("a", "z"), ("m", "c"), ("m", "aa"), ("b", "a-2"), ("m", "n")])
def test_a_vm_keeps_its_disk_its_numbers_and_its_addresses(former: str, name: str) -> None:
    written = with_vm(former, name)
    made = plan(written, state=STATE)
    assert only_names(made)
    had, now = STATE.allocations[LAB1].vms[VmName(former)], made.allocations[LAB1].vms[VmName(name)]
    assert now == replace(had, file=former)
    disk = made_of(made, f"disk/{LAB1}/{name}")
    assert disk.path == f"/var/lib/reconciler/vms/{had.id}/{former}_img.qcow2"
    after = applied(made)
    assert addresses(after) == addresses(STATE)
    assert plan(written, state=after).empty
    assert {link.vlan for link in made.allocations[LAB1].links.values()} == {
        link.vlan for link in STATE.allocations[LAB1].links.values()
    }


def test_a_renamed_vm_gets_its_host_name_when_it_starts_the_next_time() -> None:
    made = plan(with_vm("a", "z"), state=STATE)
    seed = made_of(made, f"seed/{LAB1}/z")
    assert isinstance(seed, Seed)
    assert seed.hostname == "z"
    assert seed.instance_id == next(
        entry.resource.instance_id for entry in STATE.resources.values() if isinstance(entry.resource, Seed)
    )
    assert {item.name for change in made.changes for item in change.attributes} == {"hostname", "leases"}
    assert all(item.policy is UpdatePolicy.LIVE for change in made.changes for item in change.attributes)


def test_other_settings_may_change_with_the_name() -> None:
    written = with_vm("a", "z", memory="512MiB", disk="2GiB")
    made = plan(written, state=STATE)
    assert (made.counts.restarts, made.counts.lost, made.counts.replace) == (1, 0, 0)
    vm = next(change for change in made.changes if change.address == f"vm/{LAB1}/z")
    assert vm.reason == f"renamed from vm/{LAB1}/a, memory changed"
    assert plan(written, state=applied(made)).empty


def test_a_slice_and_its_vms_are_renamed_at_once() -> None:
    vms = {"x": VMS["a"] | {"renamed_from": "a"}, "b": {}, "m": {}}
    written = lab(vms, [["x:eth1", "m:eth1"], ["b:eth1", "m:eth2"]], key=NEW, renamed_from="lab1")
    made = plan(written, state=STATE)
    assert only_names(made)
    assert made.renames == (Rename(LAB1, NEW, ((VmName("a"), VmName("x")),)),)
    assert plan(written, state=applied(made)).empty


def test_an_owner_is_renamed() -> None:
    written = lab(VMS, LINKS, key=MOVED)
    made = plan(written, on=CAROL, state=STATE)
    assert only_names(made)
    assert plan(written, on=CAROL, state=applied(made)).empty


def test_an_owner_and_a_slice_are_renamed_one_after_the_other_or_at_once() -> None:
    both = SliceKey("carol/lab9")
    written = lab(VMS, LINKS, key=both, renamed_from="lab1")
    at_once = plan(written, on=CAROL, state=STATE)
    first = plan(RENAMED, state=STATE)
    later = plan(written, on=CAROL, state=applied(first))
    for made in (at_once, later):
        assert only_names(made)
        assert plan(written, on=CAROL, state=applied(made, applied(first) if made is later else STATE)).empty
    assert later.allocations[both].salt(both) == LAB1  # so the digests of user-data stay as they were


def test_the_quota_of_an_owner_covers_what_the_owner_had_under_the_former_name() -> None:
    other = SliceKey("alice/lab2")
    state = replay(STATE, plan(lab(["a"], key=other), state=STATE))
    four = cluster(users={"carol": {"renamed_from": "alice", "quota": {"vms": 4}}})
    grown = lab(VMS, LINKS, key=MOVED)
    build_plan(four, [grown], state)
    more = lab(VMS | {"d": {}}, LINKS, key=MOVED)
    with pytest.raises(LimitError, match="quota of carol for vms"):
        build_plan(four, [more], state)


def test_a_former_name_that_the_state_does_not_have_changes_nothing() -> None:
    assert plan(lab(VMS, LINKS, renamed_from="never"), state=STATE).empty
    assert plan(with_vm("a", "z"), state=applied(plan(with_vm("a", "z"), state=STATE))).empty
    assert {change.action for change in plan(lab(["a"], key=NEW, renamed_from="never")).changes} == {Action.CREATE}


@pytest.mark.parametrize("done", range(0, 22, 3))
def test_the_next_apply_continues_where_one_was_stopped(done: int) -> None:
    made = plan(RENAMED, state=STATE)
    cut = replay(renamed_state(STATE, made.renames), made, done)
    again = plan(RENAMED, state=cut)
    assert again.renames == ()
    assert only_names(again)
    assert len(again.changes) == len(made.changes) - done
    assert plan(RENAMED, state=replay(cut, again)).empty


def test_a_rename_may_be_renamed_before_it_is_finished() -> None:
    first = plan(RENAMED, state=STATE)
    cut = replay(renamed_state(STATE, first.renames), first, 4)
    last = lab(VMS, LINKS, key=SliceKey("alice/lab7"), renamed_from="lab9")
    made = plan(last, state=cut)
    assert only_names(made)
    formerly = {change.subject.formerly[0].partition("/")[2].split("/")[1][:4] for change in made.changes}
    assert formerly == {"lab1", "lab9"}
    assert plan(last, state=applied(made, cut)).empty


def test_a_former_name_is_free_once_the_hosts_know_the_new_one() -> None:
    first = plan(RENAMED, state=STATE)
    cut = replay(renamed_state(STATE, first.renames), first, 4)
    again = lab(["a"])
    with pytest.raises(PlanError, match=f"{LAB1} was renamed to {NEW}, and worker[123] still has trunk/"):
        plan(again, state=cut)
    assert {change.action for change in plan(again, state=applied(first)).changes} == {Action.CREATE}


def test_what_a_stopped_rename_has_left_can_be_destroyed() -> None:
    first = plan(RENAMED, state=STATE)
    cut = replay(renamed_state(STATE, first.renames), first, 4)
    made = build_plan(cluster(), [], cut, destroy=[NEW])
    assert {change.action for change in made.changes} == {Action.DELETE}
    assert unasked_losses(made) == ()
    assert any(step.before is not None and step.before.formerly for step in made.steps)


def test_an_unfinished_creation_is_finished_under_the_new_name() -> None:
    cut = replay(EMPTY, plan(OLD), 12)
    made = plan(RENAMED, state=cut)
    assert not made.data_lost
    begun = [change for change in made.changes if change.action is Action.CREATE and change.subject.formerly]
    assert [entry.status for entry in cut.resources.values()].count(Status.CREATING) == len(begun) == 1
    assert plan(RENAMED, state=applied(made, cut)).empty


def test_a_saved_plan_has_the_renames() -> None:
    made = plan(RENAMED, state=STATE)
    text = write_plan(SavedPlan(made, "cluster.yaml"))
    read = read_plan(text, "plan").plan
    assert read.renames == made.renames
    assert plan_digest(read) == plan_digest(made)
    assert read.steps[0].subject.formerly == made.steps[0].subject.formerly


def test_resources_that_were_never_renamed_are_written_as_before() -> None:
    assert not any("formerly" in to_data(entry.resource) for entry in STATE.resources.values())


def test_addresses_of_all_sorts() -> None:
    rename = Rename(LAB1, NEW, ((VmName("a"), VmName("z")),))
    pairs = {
        f"vm/{LAB1}/a": f"vm/{NEW}/z",
        f"vm/{LAB1}/a--b": f"vm/{NEW}/a--b",
        f"port/{LAB1}/a:eth1": f"port/{NEW}/z:eth1",
        f"segment/{LAB1}/a:eth1--m:eth1": f"segment/{NEW}/m:eth1--z:eth1",
        f"trunk/{LAB1}@worker1": f"trunk/{NEW}@worker1",
        f"router/{LAB1}": f"router/{NEW}",
        f"router/{LAB1}0": f"router/{LAB1}0",
        "image/cirros@worker1": "image/cirros@worker1",
    }
    assert {where: renamed_address(Address(where), rename) for where in pairs} == pairs


def test_renaming_back_restores_the_addresses_of_a_link() -> None:
    had = STATE.allocations[LAB1]
    there = renamed_allocation(had, Rename(LAB1, LAB1, ((VmName("a"), VmName("z")),)))
    back = renamed_allocation(there, Rename(LAB1, LAB1, ((VmName("z"), VmName("a")),)))
    assert there.links[LinkKey("m:eth1--z:eth1")].swapped
    assert back.links == had.links


@given(slices(LAB1))
def test_any_slice_can_be_renamed(written: ExpandedSlice) -> None:
    state = replay(EMPTY, plan(written))
    now = replace(written, name="zz-renamed", renamed_from=written.name)
    made = plan(now, state=state)
    assert only_names(made)
    assert not any(change.attributes for change in made.changes)
    assert plan(now, state=applied(made, state)).empty
    taken = {claim for claim in claims(now.key, made.allocations[now.key]) if claim.kind != "subnet"}
    assert taken == {claim for claim in claims(written.key, state.allocations[written.key]) if claim.kind != "subnet"}


@pytest.mark.parametrize("noun", [Disk, Vm])
def test_a_renamed_resource_remembers_its_former_address(noun: type[Disk | Vm]) -> None:
    made = plan(RENAMED, state=STATE)
    for change in made.changes:
        if isinstance(change.subject, noun):
            assert change.subject.formerly == (change.address.replace(NEW, LAB1),)
