"""Provides a small cluster, slices in a line or two, and plans of them for the tests of planning."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from reconciler.plan.build import build_plan
from reconciler.plan.model import Action, Change, Plan
from reconciler.plan.resources import Resource
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.expand import ExpandedSlice, expand
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, SliceKey
from reconciler.spec.models.slice import Slice

LAB1, LAB2 = SliceKey("alice/lab1"), SliceKey("bob/lab2")
EMPTY = StateSnapshot(lineage="test")
CIRROS, UBUNTU = "c" * 64, "d" * 64


def cluster(**changes: Any) -> Cluster:
    """Return three workers and a network node, numbered as the imperative system was, with some keys changed."""
    data: dict[str, Any] = {
        "version": 1,
        "name": "campus",
        "workers": [{"name": f"worker{number}", "address": f"10.0.10.{number}"} for number in (1, 2, 3)],
        "network_node": {"name": "gateway", "address": "10.0.10.254", "uplink": "ens3"},
        "bridge": {"trunk": "ens4"},
        "images": {
            "cirros": {"file": "cirros.qcow2", "sha256": CIRROS},
            "ubuntu": {"file": "ubuntu.qcow2", "sha256": UBUNTU},
        },
        "flavors": {
            "cirros": {"image": "cirros", "vcpus": 1, "memory": "256MiB", "disk": "1GiB"},
            "ubuntu": {"image": "ubuntu", "vcpus": 2, "memory": "2GiB", "disk": "10GiB"},
        },
        "users": {"alice": {}, "bob": {}},
    }
    return Cluster.model_validate(data | changes)


def workers(*capacities: dict[str, Any]) -> list[dict[str, Any]]:
    """Return workers of these capacities, worker1 first."""
    return [
        {"name": f"worker{number}", "address": f"10.0.10.{number}", "capacity": capacity}
        for number, capacity in enumerate(capacities, start=1)
    ]


def lab(vms: Any = ("a", "b"), links: Any = (), *, key: str = LAB1, **more: Any) -> ExpandedSlice:
    """Return a slice of cirros VMs: `vms` are names, or a mapping of names to settings."""
    owner, _, name = key.partition("/")
    written = {"defaults": {"flavor": "cirros"}} | more
    settings = vms if isinstance(vms, dict) else {vm: {} for vm in vms}
    return expand(
        Slice.model_validate(
            {"version": 1, "name": name, "owner": owner, "vms": settings, "links": list(links)} | written
        )
    )


def plan(
    *slices: ExpandedSlice, on: Cluster | None = None, state: StateSnapshot = EMPTY, destroy: Collection[SliceKey] = ()
) -> Plan:
    """Plan slices against a state: on the small cluster, and from nothing, where neither is given."""
    return build_plan(on or cluster(), slices, state, destroy=destroy)


def change(made: Plan, where: str) -> Change:
    """Return what a plan does to one resource; fails where it does nothing to it."""
    found = {item.address: item for item in made.changes}
    return found[Address(where)]


def actions(made: Plan) -> dict[str, Action]:
    """Return what a plan does, by address."""
    return {str(item.address): item.action for item in made.changes}


def made_of(made: Plan, where: str) -> Any:
    """Return a resource as a plan makes it."""
    found: Resource | None = change(made, where).after
    assert found is not None
    return found
