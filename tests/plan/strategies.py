"""Generates valid clusters, slices and edits, with names that sort badly."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from reconciler.spec.expand import ExpandedSlice, expand
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import SliceKey
from reconciler.spec.models.slice import Slice
from tests.plan.examples import LAB1, LAB2, cluster

VM_NAMES = ("a", "a1", "a01", "a2", "a10", "b", "b-1")
"""Names whose natural order is not their order as text, and two with the same number written differently."""

KEYS = (LAB1, LAB2, SliceKey("alice/lab10"), SliceKey("bob/lab3"))

_SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "flavor": st.sampled_from(["cirros", "ubuntu"]),
    "memory": st.sampled_from(["256MiB", "512MiB"]),
    "vcpus": st.integers(1, 2),
    "disk": st.sampled_from(["1GiB", "2GiB"]),
    "internet": st.booleans(),
    "worker": st.sampled_from(["worker1", "worker2"]),
}


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """Draw a cluster of two to four workers with room for all that `slices` draws."""
    count = draw(st.integers(2, 4))
    return cluster(
        workers=[{"name": f"worker{number}", "address": f"10.0.10.{number}"} for number in range(1, count + 1)],
        vlans={
            "range": draw(st.sampled_from(["100-3999", "100-419", "1-400"])),
            "per_slice": draw(st.sampled_from([10, 20])),
            "reserved": draw(st.lists(st.sampled_from([100, 119, 150, 4000]), unique=True)),
        },
        internet={"vlan": draw(st.sampled_from([105, 400, 4093]))},
        links={"subnets": draw(st.sampled_from(["192.168.0.0/16", "192.168.0.0/20"]))},
    )


@st.composite
def links_between(draw: st.DrawFn, vms: list[str]) -> list[dict[str, Any]]:
    """Draw links with open, half open and written ends; an interface is written once at most."""
    if len(vms) < 2:
        return []
    taken: set[str] = set()
    written: set[int] = set()
    found = []
    for _ in range(draw(st.integers(0, 4))):
        pair = draw(st.permutations(vms))[:2]
        link: dict[str, Any] = {"endpoints": [_end(draw, vm, taken) for vm in pair]}
        for name in ("dhcp", "gateway"):
            if draw(st.integers(0, 3)) == 0:
                link[name] = False
        if draw(st.booleans()):
            link["mtu"] = 1400
        third = draw(st.integers(100, 104))
        if third not in written and draw(st.integers(0, 3)) == 0:
            written.add(third)
            link["subnet"] = f"192.168.{third}.0/24"
        found.append(link)
    return found


def _end(draw: st.DrawFn, vm: str, taken: set[str]) -> str:
    end = f"{vm}:eth{draw(st.integers(1, 4))}"
    if end in taken or draw(st.booleans()):
        return vm
    taken.add(end)
    return end


@st.composite
def slices(draw: st.DrawFn, key: SliceKey) -> ExpandedSlice:
    """Draw a slice file; two draws of one key are an edit of it."""
    names = draw(st.lists(st.sampled_from(VM_NAMES), unique=True, max_size=4))
    links = draw(links_between(names))
    vms = {}
    for name in names:
        settings = {field: draw(values) for field, values in _SETTINGS.items() if draw(st.integers(0, 3)) == 0}
        if draw(st.booleans()):
            settings["interfaces"] = _fewest(name, links) + draw(st.integers(0, 1))
        vms[name] = settings
    owner, _, name = key.partition("/")
    data = {"version": 1, "name": name, "owner": owner, "defaults": {"flavor": "cirros"}, "vms": vms, "links": links}
    if draw(st.integers(0, 3)) == 0:
        data["vlans"] = draw(st.sampled_from([8, 25]))
    return expand(Slice.model_validate(data))


def _fewest(vm: str, links: list[dict[str, Any]]) -> int:
    """Count the data interfaces that a VM's links take at least, and that their written ends name."""
    ends = [end.partition(":eth") for link in links for end in link["endpoints"]]
    count = Counter(name for name, _, _ in ends)[vm]
    return max([count, *(int(number) for name, _, number in ends if name == vm and number)])


@st.composite
def worlds(draw: st.DrawFn, most: int = 3) -> list[ExpandedSlice]:
    """Draw slices of different keys."""
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True, min_size=1, max_size=most))
    return [draw(slices(key)) for key in keys]


@st.composite
def reordered(draw: st.DrawFn, whole: ExpandedSlice) -> ExpandedSlice:
    """Draw the same slice with its VMs, links and their ends written in another order."""
    links = [
        link.model_copy(update={"endpoints": tuple(draw(st.permutations(link.endpoints)))})
        for link in draw(st.permutations(whole.links))
    ]
    vms = dict(draw(st.permutations(list(whole.vms.items()))))
    return replace(whole, links=tuple(links), vms=vms)
