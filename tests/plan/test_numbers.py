"""Tests the numbers that users know from the imperative system, and that its faults do not come back."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from reconciler.errors import LimitError
from reconciler.plan.allocation.allocator import FIRST_VNC, LAST_VM_ID
from reconciler.plan.design import mac_address, tap_name
from reconciler.plan.model import Action
from reconciler.plan.resources import KINDS, Port, Segment, Vm
from reconciler.plan.snapshot import Block, Claim, Counters, LinkAllocation, Seen, StateSnapshot, Status, claims
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.names import HostName, LinkKey, SliceKey, VlanId, VmId, VmName
from tests.plan.examples import EMPTY, LAB1, LAB2, actions, change, cluster, lab, made_of, plan
from tests.plan.replay import replay, within


def applied(*slices: ExpandedSlice, state: StateSnapshot = EMPTY, **changes: Any) -> StateSnapshot:
    for one in slices:
        state = replay(state, plan(one, on=cluster(**changes), state=state))
    return state


def links_of(state: StateSnapshot, key: SliceKey = LAB1) -> dict[str, LinkAllocation]:
    return {str(name): given for name, given in state.allocations[key].links.items()}


def test_the_first_slice_has_the_numbers_that_users_know() -> None:
    made = plan(lab(links=[["a", "b"]]))
    given = made.allocations[LAB1]
    assert (given.id, given.pool) == (1000, (Block(VlanId(100), VlanId(119)),))
    first = given.vms[VmName("a")]
    assert (first.id, first.worker, first.vnc) == (1001, "worker1", 5901)
    assert str(cluster().host("worker1").address) == "10.0.10.1"
    assert links_of(replay(EMPTY, made)) == {"a:eth1--b:eth1": LinkAllocation(1, 100, "192.168.100.0/24")}  # type: ignore[arg-type]
    assert made_of(made, "segment/alice/lab1/a:eth1--b:eth1").ip == "192.168.100.1/24"
    assert made.counters == Counters(1001, 1003, 2, 2)  # type: ignore[arg-type]


def test_workers_take_turns_across_plans() -> None:
    state, turns = EMPTY, []
    for number in range(4):
        key = SliceKey(f"alice/lab{number}")
        state = applied(lab(["a"], key=key), state=state)
        turns.append(state.allocations[key].vms[VmName("a")].worker)
    assert turns == ["worker1", "worker2", "worker3", "worker1"]
    assert state.counters.turn == 4


def test_a_pinned_vm_takes_no_turn() -> None:
    made = plan(lab({"a": {"worker": "worker3"}, "b": {}}))
    assert {name: vm.worker for name, vm in made.allocations[LAB1].vms.items()} == {"a": "worker3", "b": "worker1"}
    assert made.counters.turn == 1


def test_vnc_ports_count_for_each_worker() -> None:
    made = plan(lab(["a", "b", "c", "d"]))
    assert [vm.vnc for vm in made.allocations[LAB1].vms.values()] == [5901, 5901, 5901, 5902]


def test_fault_1_destroy_visits_all_that_a_broken_apply_may_have_left() -> None:
    start = plan(lab(links=[["a", "b"]], vms={"a": {"internet": True}, "b": {}}))
    for done in range(len(start.steps)):
        half = replay(EMPTY, start, done)
        assert {entry.status for entry in half.resources.values()} <= {Status.PRESENT, Status.CREATING}
        gone = plan(state=half, destroy=[LAB1])
        assert actions(gone) == dict.fromkeys(map(str, half.resources), Action.DELETE)
        assert replay(half, gone).resources == {}


def test_fault_1_destroy_visits_what_was_being_changed_or_removed() -> None:
    whole = applied(lab(links=[["a", "b"]]))
    edit = plan(lab({"a": {"memory": "512MiB"}}), state=whole)
    seen: set[Status] = set()
    for done in range(len(edit.steps)):
        half = replay(whole, edit, done)
        seen.update(entry.status for entry in half.resources.values())
        gone = plan(state=half, destroy=[LAB1])
        assert actions(gone) == dict.fromkeys(map(str, half.resources), Action.DELETE)
    assert seen == set(Status) - {Status.CREATING}


def test_fault_1_destroy_takes_off_every_vlan_of_an_unfinished_trunk() -> None:
    one = applied(lab(links=[["a", "b"]]))
    edit = plan(lab(links=[["a", "b"], ["a", "b"]]), state=one)
    step = next(step for step in edit.steps if step.address == "trunk/alice/lab1@worker1")
    half = replay(one, edit, step.id - 1)
    gone = plan(state=half, destroy=[LAB1])
    removed = change(gone, "trunk/alice/lab1@worker1").before
    assert removed is not None
    assert getattr(removed, "vlans") == (100, 101)  # noqa: B009 - of resources, trunks alone have it


def test_fault_2_no_pool_contains_the_internet_vlan() -> None:
    state = EMPTY
    pools: list[Block] = []
    for number in range(194):
        key = SliceKey(f"alice/lab{number}")
        made = plan(lab([], key=key), state=state)
        state = replay(state, made)
        pools += made.allocations[key].pool
    assert str(pools[15]) == "420-439"
    assert not [str(pool) for pool in pools if pool.first <= 400 <= pool.last]
    assert len({pool.first for pool in pools}) == len(pools) == 194
    with pytest.raises(LimitError) as caught:
        plan(lab([], key="alice/more"), state=state)
    assert caught.value.summary == (
        "VLANs of range 100-3999 for alice/more exhausted: limit 3899, used 3880, asked 20, free 19"
    )


def test_fault_3_vlans_100_and_356_of_one_slice_get_different_subnets() -> None:
    many = [["a", "b"]] + [[f"v{number}", f"v{number + 1}"] for number in range(1, 280)]
    vms = ["a", "b", *(f"v{number}" for number in range(1, 281))]
    made = plan(lab(vms, many, vlans=300), on=cluster(internet={"vlan": 4000}, links={"subnets": "192.168.0.0/15"}))
    by_vlan = {link.vlan: link.subnet for link in made.allocations[LAB1].links.values()}
    assert {VlanId(100), VlanId(356)} <= by_vlan.keys()
    assert by_vlan[VlanId(100)] == "192.168.100.0/24" != by_vlan[VlanId(356)]
    segments = [item.after for item in made.changes if isinstance(item.after, Segment)]
    assert len({segment.ip for segment in segments}) == len(segments)


def test_fault_6_a_pool_returns_once_its_slice_is_gone() -> None:
    small: dict[str, Any] = {"vlans": {"range": "100-119", "per_slice": 20}}
    state = applied(lab(links=[["a", "b"]]), **small)
    gone = plan(on=cluster(**small), state=state, destroy=[LAB1])
    for done in range(len(gone.steps) - 1):
        half = replay(state, gone, done)
        if any(entry.resource.slice == LAB1 for entry in half.resources.values()):
            with pytest.raises(LimitError):
                plan(lab(key=LAB2), on=cluster(**small), state=within(half, LAB2))
    freed = replay(state, gone)
    again = plan(lab(key=LAB2), on=cluster(**small), state=freed)
    assert again.allocations[LAB2].pool == state.allocations[LAB1].pool
    assert again.allocations[LAB2].id == 1001


def test_fault_6_a_removed_links_numbers_are_held_until_its_segment_is_gone() -> None:
    state = applied(lab(links=[["a", "b"], ["a", "b"]]))
    edit = plan(lab(links=[["a", "b"]]), state=state)
    half = replay(state, edit, 0)
    assert {Claim("vlan", "", "101"), Claim("subnet", LAB1, "192.168.101.0/24")} <= half.held[LAB1]
    added = plan(lab(["a", "b", "c"], [["a", "b"], ["a", "c"]]), state=half).allocations[LAB1]
    assert added.links[LinkKey("a:eth2--c:eth1")] == LinkAllocation(3, 102, "192.168.102.0/24")  # type: ignore[arg-type]
    settled = plan(lab(["a", "b", "c"], [["a", "b"], ["a", "c"]]), state=replay(state, edit)).allocations[LAB1]
    assert settled.links[LinkKey("a:eth2--c:eth1")].vlan == 101


def test_fault_6_a_new_link_does_not_take_the_subnet_of_one_that_still_exists() -> None:
    narrow = cluster(links={"subnets": "192.168.100.0/23"})
    state = replay(EMPTY, plan(lab(links=[["a:eth1", "b:eth1"]]), on=narrow))
    (before,) = state.allocations[LAB1].links.values()
    made = plan(lab(links=[["a:eth2", "b:eth2"]]), on=narrow, state=state)
    (after,) = made.allocations[LAB1].links.values()
    assert after.vlan != before.vlan
    assert after.subnet != before.subnet


def test_fault_7_turn_and_counters_come_from_the_state() -> None:
    counters = Counters(1041, 2001, 301, 5)  # type: ignore[arg-type]
    made = plan(lab(links=[["a", "b"]]), state=StateSnapshot("test", counters=counters))
    given = made.allocations[LAB1]
    assert given.id == 1041
    assert [(vm.id, vm.worker) for vm in given.vms.values()] == [(2001, "worker3"), (2002, "worker1")]
    assert [link.id for link in given.links.values()] == [301]
    assert made.counters == Counters(1042, 2003, 302, 7)  # type: ignore[arg-type]


def test_fault_7_ids_are_never_given_again() -> None:
    state = applied(lab(links=[["a", "b"]]))
    gone = replay(state, plan(state=state, destroy=[LAB1]))
    again = plan(lab(links=[["a", "b"]]), state=gone).allocations[LAB1]
    old = {claim for claim in claims(LAB1, state.allocations[LAB1]) if claim.kind.endswith("-id")}
    new = {claim for claim in claims(LAB1, again) if claim.kind.endswith("-id")}
    assert len(new) == len(old) == 4
    assert not old & new


@pytest.mark.parametrize("name", ["a;b", "$(id)", "`id`", "a b", "a\nb", "a\n", "--help", "../a", "a/b", "A", "é", ""])
def test_fault_8_no_name_carries_what_a_shell_would_read(name: str) -> None:
    with pytest.raises(ValidationError):
        lab([name])
    with pytest.raises(ValidationError):
        lab(key=f"alice/{name}")


@pytest.mark.parametrize("vm", [1001, 99_999, 2**24 - 1])
def test_fault_9_tap_names_and_macs_fit(vm: int) -> None:
    for nic in (0, 28):
        assert len(tap_name(VmId(vm), nic)) <= 15
        mac = mac_address(VmId(vm), nic)
        assert len(mac) == 17
        assert [int(part, 16) for part in mac.split(":")][2:] == [vm >> 16, vm >> 8 & 255, vm & 255, nic]


def test_fault_9_ids_beyond_a_mac_are_refused() -> None:
    full = StateSnapshot("test", counters=Counters(vm_id=VmId(LAST_VM_ID)))
    assert plan(lab(["a"]), state=full).allocations[LAB1].vms[VmName("a")].id == LAST_VM_ID
    with pytest.raises(LimitError, match="VM ids exhausted: limit 16776215, used 16776215, asked 1, free 0"):
        plan(lab(["a", "b"]), state=full)


def test_fault_10_everything_is_kept_under_owner_and_name() -> None:
    made = plan(lab(links=[["a", "b"]]), lab(links=[["a", "b"]], key=LAB2))
    assert set(made.allocations) == set(made.slices) == {LAB1, LAB2}
    owned = [item.subject for item in made.changes if item.subject.slice is not None]
    assert set(KINDS) - {item.kind for item in owned} == {
        "image",
        "uplink",
        "reservation",
        "seed",
    }
    for resource in owned:
        assert resource.slice in {LAB1, LAB2}
        assert resource.address.startswith(f"{resource.kind}/{resource.slice}")


def test_a_vm_that_moves_gets_a_port_of_its_new_worker() -> None:
    state = applied(lab({"a": {"worker": "worker1"}, "b": {"worker": "worker2"}}))
    made = plan(lab({"a": {"worker": "worker2"}, "b": {"worker": "worker2"}}), state=state)
    assert made.allocations[LAB1].vms[VmName("a")].vnc == FIRST_VNC + 1
    assert made.allocations[LAB1].vms[VmName("a")].id == state.allocations[LAB1].vms[VmName("a")].id
    assert change(made, "vm/alice/lab1/a").action is Action.REPLACE


def test_a_vm_whose_worker_is_no_longer_written_stays_there() -> None:
    state = applied(lab({"a": {"worker": "worker3"}}))
    assert plan(lab({"a": {}}), state=state).empty


def test_a_larger_pool_grows_by_free_blocks_and_shrinks_again() -> None:
    state = applied(lab([]), lab([], key=LAB2))
    grown = replay(state, plan(lab([], vlans=45), state=state))
    assert [str(block) for block in grown.allocations[LAB1].pool] == ["100-119", "140-159", "160-164"]
    shrunk = plan(lab([]), state=grown)
    assert [str(block) for block in shrunk.allocations[LAB1].pool] == ["100-119"]


def test_a_slice_reserves_as_many_vlans_as_it_asks_for() -> None:
    state = EMPTY
    pools: list[Block] = []
    for number in range(60):
        key = SliceKey(f"alice/lab{number}")
        made = plan(lab([], key=key, vlans=4), state=state)
        state = replay(state, made)
        pools += made.allocations[key].pool
    assert [str(pool) for pool in pools[:6]] == ["100-103", "104-107", "108-111", "112-115", "116-119", "120-123"]
    assert max(pool.last for pool in pools) == 100 + 4 * 60 - 1
    whole = plan(lab([], key="bob/whole"), state=state).allocations[SliceKey("bob/whole")]
    assert [str(pool) for pool in whole.pool] == ["1300-1319"], "a whole block is the one that its id prefers"
    grown = plan(lab([], key="alice/lab0", vlans=6), state=state).allocations[SliceKey("alice/lab0")]
    assert [str(pool) for pool in grown.pool] == ["100-103", "340-341"], "what it has stays"


def test_a_pool_keeps_a_block_that_a_link_uses() -> None:
    links = [["a", "b"], ["a", "b"], ["a", "b"]]
    tiny: dict[str, Any] = {"vlans": {"range": "100-199", "per_slice": 2}}
    state = applied(lab(links=links, vlans=3), **tiny)
    made = plan(lab(links=links), on=cluster(**tiny), state=state)
    assert [str(block) for block in made.allocations[LAB1].pool] == ["100-101", "102-102"]


def test_a_written_subnet_is_taken_and_an_allocated_one_gives_way() -> None:
    state = applied(lab(links=[["a:eth1", "b:eth1"]]))
    made = plan(
        lab(
            links=[["a:eth1", "b:eth1"], {"endpoints": ["a:eth2", "b:eth2"], "subnet": "192.168.100.0/25"}],
        ),
        state=state,
    )
    subnets = {str(key): link.subnet for key, link in made.allocations[LAB1].links.items()}
    assert subnets == {"a:eth1--b:eth1": "192.168.101.0/24", "a:eth2--b:eth2": "192.168.100.0/25"}
    assert change(made, "segment/alice/lab1/a:eth1--b:eth1").action is Action.REPLACE


def test_links_avoid_the_internet_subnet() -> None:
    made = plan(
        lab(links=[["a", "b"]]), on=cluster(internet={"subnet": "192.168.100.0/24", "gateway": "192.168.100.1"})
    )
    assert [link.subnet for link in made.allocations[LAB1].links.values()] == ["192.168.101.0/24"]


def test_an_internet_address_is_kept_given_up_and_given_again() -> None:
    state = applied(lab({"a": {"internet": True}, "b": {"internet": True}}))
    assert [vm.internet for vm in state.allocations[LAB1].vms.values()] == ["10.60.7.2", "10.60.7.3"]
    edit = plan(lab({"a": {}, "b": {"internet": True}}), state=state)
    assert [vm.internet for vm in edit.allocations[LAB1].vms.values()] == [None, "10.60.7.3"]
    half = replay(state, edit, 0)
    other = lab({"c": {"internet": True}}, key=LAB2)
    assert plan(other, state=half).allocations[LAB2].vms[VmName("c")].internet == "10.60.7.4"
    assert plan(other, state=replay(state, edit)).allocations[LAB2].vms[VmName("c")].internet == "10.60.7.2"


def test_ports_and_vms_carry_what_was_allocated() -> None:
    made = plan(lab({"a": {"interfaces": 1}}))
    port, vm = made_of(made, "port/alice/lab1/a:eth1"), made_of(made, "vm/alice/lab1/a")
    assert isinstance(port, Port)
    assert isinstance(vm, Vm)
    assert (port.tap, port.mac, port.vlan) == ("tap1001-1", "52:54:00:03:e9:01", None)
    assert [nic.tap for nic in vm.nics] == ["tap1001-0", "tap1001-1"]


def test_ports_that_other_programs_occupy_are_given_to_no_vm() -> None:
    seen = Seen(occupied={HostName("worker1"): frozenset({5901, 5903})})
    made = plan(lab({name: {"worker": "worker1"} for name in "abc"}), state=EMPTY.seen(seen))
    assert [vm.vnc for vm in made.allocations[LAB1].vms.values()] == [5902, 5904, 5905]


def test_a_vm_whose_port_is_occupied_gets_another_and_its_neighbours_keep_theirs() -> None:
    written = lab({name: {"worker": "worker1"} for name in "ab"})
    state = applied(written).seen(Seen(occupied={HostName("worker1"): frozenset({5901})}))
    made = plan(written, state=state)
    assert [vm.vnc for vm in made.allocations[LAB1].vms.values()] == [5903, 5902]
    assert [item.address for item in made.changes] == ["vm/alice/lab1/a"]
    moved = plan(
        lab({"a": {"worker": "worker2"}, "b": {"worker": "worker2"}}),
        state=applied(written).seen(Seen(occupied={HostName("worker2"): frozenset({5901})})),
    )
    assert [vm.vnc for vm in moved.allocations[LAB1].vms.values()] == [5902, 5903]
