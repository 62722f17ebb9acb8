"""Tests that a reached limit is reported with limit, used, asked and free, before any host is contacted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.errors import LimitError, PlanError
from reconciler.plan.allocation import allocator
from reconciler.plan.allocation.quota import usage_by_owner
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.check.files import usage
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Bytes
from reconciler.spec.quota import total
from tests.plan.examples import EMPTY, LAB1, LAB2, cluster, lab, plan, workers
from tests.plan.replay import replay


def refusal(*slices: ExpandedSlice, on: Cluster, state: StateSnapshot = EMPTY) -> LimitError:
    with pytest.raises(LimitError) as caught:
        plan(*slices, on=on, state=state)
    return caught.value


def quota(**limits: Any) -> Cluster:
    return cluster(users={"alice": {"quota": limits}, "bob": {}})


def test_a_slices_pool() -> None:
    on = cluster(vlans={"per_slice": 2})
    found = refusal(lab(links=[["a", "b"]] * 3), on=on)
    assert found.summary == "VLAN pool of alice/lab1 exhausted: limit 2, used 0, asked 3, free 2"
    assert found.hint == "write `vlans: 3` in the slice file, or remove links"
    state = replay(EMPTY, plan(lab(links=[["a", "b"]]), on=on))
    assert refusal(lab(links=[["a", "b"]] * 3), on=on, state=state).summary == (
        "VLAN pool of alice/lab1 exhausted: limit 2, used 1, asked 2, free 1"
    )


def test_the_clusters_range() -> None:
    on = cluster(vlans={"range": "390-439"})
    state = replay(EMPTY, plan(lab([]), on=on))
    found = refusal(lab([], key=LAB2), on=on, state=state)
    assert found.summary == "VLANs of range 390-439 for bob/lab2 exhausted: limit 49, used 20, asked 20, free 29"
    assert found.hint == (
        "not counted: 1 reserved VLAN; no 20 free ones are in one block; "
        "destroy a slice, or widen vlans.range in the cluster file"
    )
    few = plan(lab([], key=LAB2, vlans=4), on=on, state=state)
    assert [str(block) for block in few.allocations[LAB2].pool] == ["390-393"], "what is free is given in small blocks"


@pytest.mark.parametrize(
    ("limits", "numbers"),
    [
        ({"slices": 0}, "quota of alice for slices exhausted: limit 0, used 0, asked 1, free 0"),
        ({"vms": 1}, "quota of alice for vms exhausted: limit 1, used 0, asked 2, free 1"),
        ({"vcpus": 1}, "quota of alice for vcpus exhausted: limit 1, used 0, asked 2, free 1"),
        (
            {"memory": "300MiB"},
            "quota of alice for memory exhausted: limit 300MiB, used 0B, asked 512MiB, free 300MiB",
        ),
        ({"disk": "1GiB"}, "quota of alice for disk exhausted: limit 1GiB, used 0B, asked 2GiB, free 1GiB"),
        ({"vlans": 10}, "quota of alice for vlans exhausted: limit 10, used 0, asked 20, free 10"),
    ],
)
def test_an_owners_quota(limits: dict[str, Any], numbers: str) -> None:
    assert refusal(lab(), on=quota(**limits)).summary == numbers


def test_a_quota_counts_all_slices_of_the_owner_and_no_others() -> None:
    state = replay(EMPTY, plan(lab(), lab(key=LAB2)))
    found = refusal(lab(key="alice/lab2"), on=quota(vms=3), state=state)
    assert found.summary == "quota of alice for vms exhausted: limit 3, used 2, asked 2, free 1"
    assert found.hint == "destroy something, or ask for a higher quota: users.alice.quota.vms"


def test_files_and_plans_count_the_same() -> None:
    written = [lab(), lab(["c"], key="alice/lab2", vlans=7), lab(key="alice/lab3", vlans=21), lab(key="bob/lab1")]
    on = cluster()
    of_files = [usage(one, on) for one in written if one.owner == "alice"]
    assert usage_by_owner(plan(*written, on=on).allocations, {"alice"}) == {"alice": total(of_files)}


def test_a_lowered_quota_stops_growth_and_nothing_else() -> None:
    state = replay(EMPTY, plan(lab(["a", "b", "c"])))
    assert plan(lab(["a", "b", "c"]), on=quota(vms=1), state=state).empty
    assert plan(lab(["a", "b"]), on=quota(vms=1), state=state).counts.destroy > 0
    assert refusal(lab(["a", "b", "c", "d"]), on=quota(vms=1), state=state).summary == (
        "quota of alice for vms exhausted: limit 1, used 3, asked 1, free 0"
    )


@pytest.mark.parametrize(
    ("capacity", "numbers"),
    [
        ({"vms": 1}, "VMs of worker1, worker2 for alice/lab1/c exhausted: limit 2, used 2, asked 1, free 0"),
        ({"vcpus": 1}, "vCPUs of worker1, worker2 for alice/lab1/c exhausted: limit 2, used 2, asked 1, free 0"),
        (
            {"disk": "1GiB"},
            "disk space of worker1, worker2 for alice/lab1/c exhausted: limit 2GiB, used 2GiB, asked 1GiB, free 0B",
        ),
        (
            {"memory": "256MiB"},
            "memory of worker1, worker2 for alice/lab1/c exhausted: limit 512MiB, used 512MiB, asked 256MiB, free 0B",
        ),
    ],
)
def test_the_workers_capacity(capacity: dict[str, Any], numbers: str) -> None:
    found = refusal(lab(["a", "b", "c"]), on=cluster(workers=workers(capacity, capacity)))
    assert found.summary == numbers
    assert found.hint == "destroy a VM, or add a worker or raise its capacity in the cluster file"


def test_a_pinned_vms_worker() -> None:
    on = cluster(workers=workers({"vms": 0}, {}))
    assert refusal(lab({"a": {"worker": "worker1"}}), on=on).summary == (
        "VMs of worker1 for alice/lab1/a exhausted: limit 0, used 0, asked 1, free 0"
    )


def test_room_spread_over_workers_is_not_called_room() -> None:
    on = cluster(workers=workers({"memory": "768MiB"}, {"memory": "512MiB"}))
    vms = {"a": {}, "b": {}, "c": {"memory": "600MiB"}}
    assert refusal(lab(vms), on=on).summary == (
        "memory of worker1, which has the most free of worker1, worker2, for alice/lab1/c exhausted: "
        "limit 768MiB, used 256MiB, asked 600MiB, free 512MiB"
    )


def test_workers_that_lack_different_things() -> None:
    on = cluster(workers=workers({"vms": 0}, {"vcpus": 0}))
    with pytest.raises(PlanError) as caught:
        plan(lab(["a"]), on=on)
    assert caught.value.summary == "no worker of worker1, worker2 has room for alice/lab1/a"


def test_a_full_worker_is_passed_over() -> None:
    on = cluster(workers=workers({"vms": 1}, {}, {}))
    made = plan(lab(["a", "b", "c", "d"]), on=on)
    placed = [vm.worker for given in made.allocations.values() for vm in given.vms.values()]
    assert placed == ["worker1", "worker2", "worker3", "worker2"]


def test_a_running_vm_does_not_outgrow_its_worker() -> None:
    on = cluster(workers=workers({"memory": "1GiB", "vcpus": 2}))
    state = replay(EMPTY, plan(lab(), on=on))
    assert plan(lab({"a": {"memory": "768MiB"}, "b": {}}), on=on, state=state).counts.restarts == 1
    assert refusal(lab({"a": {"memory": "1GiB"}, "b": {}}), on=on, state=state).summary == (
        "memory of worker1 for alice/lab1/a exhausted: limit 1GiB, used 512MiB, asked 768MiB, free 512MiB"
    )


def test_a_lowered_capacity_evicts_no_vm() -> None:
    state = replay(EMPTY, plan(lab()))
    low = cluster(workers=workers({"vms": 0, "vcpus": 0}, {"vms": 0}, {"vms": 0}))
    assert plan(lab(), on=low, state=state).empty
    assert plan(lab({"a": {"memory": "128MiB"}, "b": {}}), on=low, state=state).counts.change == 1


def test_internet_addresses() -> None:
    on = cluster(internet={"subnet": "10.60.7.0/29", "gateway": "10.60.7.1"})
    found = refusal(lab({f"v{number}": {"internet": True} for number in range(1, 7)}), on=on)
    assert found.summary == (
        "addresses of 10.60.7.0/29 on the internet VLAN for alice/lab1/v6 exhausted: limit 5, used 5, asked 1, free 0"
    )


def test_subnets_of_links() -> None:
    on = cluster(links={"subnets": "192.168.7.0/24"})
    assert refusal(lab(links=[["a", "b"], ["a", "b"]]), on=on).summary == (
        "subnets for links of one slice exhausted: limit 1, used 1, asked 1, free 0"
    )


def test_vnc_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "LAST_VNC", 5902)
    found = refusal(lab(["a", "b", "c"]), on=cluster(workers=workers({})))
    assert found.summary == "VNC ports of worker1 exhausted: limit 2, used 2, asked 1, free 0"


def test_a_refused_plan_of_several_slices_names_the_one_that_does_not_fit() -> None:
    on = cluster(vlans={"range": "100-119"})
    assert "for bob/lab2 " in refusal(lab(key=LAB2), lab(), on=on).summary


def test_a_disk_that_grows_needs_room_and_one_that_no_worker_can_hold_is_refused() -> None:
    on = cluster(workers=workers({"disk": "3GiB"}))
    state = replay(EMPTY, plan(lab({"a": {}, "b": {}}), on=on))
    assert plan(lab({"a": {"disk": "2GiB"}, "b": {}}), on=on, state=state).counts.change == 1
    assert refusal(lab({"a": {"disk": "3GiB"}, "b": {}}), on=on, state=state).summary == (
        "disk space of worker1 for alice/lab1/a exhausted: limit 3GiB, used 2GiB, asked 2GiB, free 1GiB"
    )
    assert "disk space of worker1 for alice/lab1/a exhausted: limit 3GiB, used 0B, asked 500TiB" in (
        refusal(lab({"a": {"disk": "500TiB"}}), on=on).summary
    )


def test_a_vm_of_an_earlier_version_whose_disk_was_not_counted_has_what_its_file_says() -> None:
    on = cluster(workers=workers({"disk": "2GiB"}))
    state = replay(EMPTY, plan(lab({"a": {}, "b": {}}), on=on))
    vms = {name: replace(vm, disk=Bytes(0)) for name, vm in state.allocations[LAB1].vms.items()}
    old = replace(state, allocations={LAB1: replace(state.allocations[LAB1], vms=vms)})
    assert plan(lab({"a": {}, "b": {}}), on=on, state=old).empty
