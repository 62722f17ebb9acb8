"""Tests the interfaces of links: those of the file first, then those of the state, then the lowest free one."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.errors import PlanError
from reconciler.plan.graph import ends, natural
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.models.names import LinkKey, VmName
from tests.plan.examples import EMPTY, LAB1, lab, plan
from tests.plan.replay import replay


def settled(links: list[Any], had: list[Any] | None = None, vms: Any = ("a", "b", "c")) -> list[str]:
    """Return the keys of the links of a slice that had other links before."""
    made = plan(lab(vms, links), state=state_after(had) if had is not None else EMPTY)
    return sorted(made.allocations[LAB1].links)


def state_after(links: list[Any], vms: Any = ("a", "b", "c")) -> StateSnapshot:
    return replay(EMPTY, plan(lab(vms, links)))


@pytest.mark.parametrize(
    ("links", "keys"),
    [
        ([["b:eth2", "a:eth3"]], ["a:eth3--b:eth2"]),
        ([["a", "b"], ["a", "c"]], ["a:eth1--b:eth1", "a:eth2--c:eth1"]),
        ([["a", "c"], ["a", "b"]], ["a:eth1--b:eth1", "a:eth2--c:eth1"]),
        ([["a", "b"], ["a:eth1", "c"]], ["a:eth1--c:eth1", "a:eth2--b:eth1"]),
        ([["b", "a"], ["c:eth1", "a:eth2"], ["b", "c"]], ["a:eth1--b:eth1", "a:eth2--c:eth1", "b:eth2--c:eth2"]),
        ([["a:eth2", "b"], ["a", "b:eth1"]], ["a:eth1--b:eth1", "a:eth2--b:eth2"]),
    ],
)
def test_open_ends_take_the_lowest_free_interface(links: list[Any], keys: list[str]) -> None:
    assert settled(links) == keys
    assert settled(links[::-1]) == keys
    assert settled([link[::-1] for link in links]) == keys


def test_a_link_keeps_the_interfaces_it_had() -> None:
    assert settled([["b", "c"]], had=[["a", "b"], ["b", "c"]]) == ["b:eth2--c:eth1"]
    assert settled([["a", "b"], ["a", "c"], ["b", "c"]], had=[["b", "c"]]) == [
        "a:eth1--b:eth2",
        "a:eth2--c:eth2",
        "b:eth1--c:eth1",
    ]


def test_an_interface_of_the_file_wins_over_one_of_the_state() -> None:
    assert settled([["a", "b"], ["a:eth1", "c"]], had=[["a", "b"]]) == ["a:eth1--c:eth1", "a:eth2--b:eth1"]


def test_a_half_open_link_keeps_only_what_fits_its_written_end() -> None:
    assert settled([["a:eth1", "b"]], had=[["a", "b"]]) == ["a:eth1--b:eth1"]
    assert settled([["a:eth2", "b"]], had=[["a", "b"]]) == ["a:eth2--b:eth1"]


def test_a_link_leaves_an_interface_that_its_vm_no_longer_has() -> None:
    had = [["a", "b"], ["a", "c"]]
    assert settled([["a", "c"]], had) == ["a:eth2--c:eth1"]
    assert settled([["a", "c"]], had, vms={"a": {"interfaces": 1}, "b": {}, "c": {}}) == ["a:eth1--c:eth1"]


def test_a_removed_link_leaves_the_nic_for_the_next() -> None:
    state = state_after([["a", "b"], ["a", "c"]])
    kept = plan(lab(["a", "b", "c"]), state=state)
    assert {name: vm.nics for name, vm in kept.allocations[LAB1].vms.items()} == {"a": 3, "b": 2, "c": 2}
    assert kept.counts.restarts == 0


@pytest.mark.parametrize(
    ("settings", "links", "nics"),
    [({}, [], 1), ({"interfaces": 0}, [], 1), ({"interfaces": 3}, [], 4), ({}, [["a:eth3", "b"]], 4)],
)
def test_nics_are_counted_with_eth0(settings: dict[str, Any], links: list[Any], nics: int) -> None:
    made = plan(lab({"a": settings, "b": {}}, links))
    assert made.allocations[LAB1].vms[VmName("a")].nics == nics


def test_two_vms_may_have_parallel_links() -> None:
    assert settled([["a", "b"], ["b", "a"]]) == ["a:eth1--b:eth1", "a:eth2--b:eth2"]


def test_a_vm_without_a_whole_size_is_named() -> None:
    bare = lab(["a"], defaults={"image": "cirros", "vcpus": 1, "memory": "1GiB"})
    with pytest.raises(PlanError, match="alice/lab1/a has no complete size"):
        plan(bare)


def test_names_sort_as_people_count() -> None:
    names = ["vm10", "vm2", "vm", "vm1", "vm01", "a9", "vm2a"]
    for order in (names, names[::-1]):
        assert sorted(order, key=natural) == ["a9", "vm", "vm01", "vm1", "vm2", "vm2a", "vm10"]


def test_a_key_has_two_ends() -> None:
    assert ends(LinkKey("a-1:eth1--b:eth28")) == (("a-1", 1), ("b", 28))
    with pytest.raises(ValueError, match="'a:eth1' is not a link's key"):
        ends(LinkKey("a:eth1"))
