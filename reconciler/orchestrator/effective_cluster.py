"""Applies the database to the cluster: new VMs go to its workers in turn, and its quotas apply too."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.errors import UsageError
from reconciler.plan.allocation.placement import Amount, Placement
from reconciler.spec.models.cluster import Cluster, Quota
from reconciler.spec.models.names import SliceKey, VmName


def with_workers(cluster: Cluster, addresses: Sequence[str]) -> Cluster:
    """Return the cluster with its workers in the order of the list; workers that are not listed get no new VMs.

    Raises UsageError if the list is empty or names an unknown worker.
    """
    workers = {str(worker.address): worker for worker in cluster.workers}
    wanted = list(dict.fromkeys(addresses))
    if unknown := [address for address in wanted if address not in workers]:
        raise UsageError(
            f"workers_list has {', '.join(unknown)}, which the cluster file does not have",
            hint=f"its workers are {', '.join(workers)}",
        )
    if not wanted:
        raise UsageError("workers_list is empty", hint=f"the workers of the cluster file are {', '.join(workers)}")
    chosen = [workers[address] for address in wanted]
    others = [worker for address, worker in workers.items() if address not in wanted]
    closed = [
        worker.model_copy(update={"capacity": worker.capacity.model_copy(update={"vms": 0})}) for worker in others
    ]
    return cluster.model_copy(update={"workers": (*chosen, *closed), "placement": "round-robin"})


def with_quota(cluster: Cluster, owner: str, quota: Quota) -> Cluster:
    """Return the cluster with the lower of two quotas for a user, for each limit."""
    user = cluster.users.get(owner)
    if user is None:
        return cluster
    pairs = {name: (getattr(quota, name), getattr(user.quota, name)) for name in Quota.model_fields}
    tighter = {name: min((limit for limit in pair if limit is not None), default=None) for name, pair in pairs.items()}
    owners = {**cluster.users, owner: user.model_copy(update={"quota": Quota.model_construct(**tighter)})}
    return cluster.model_copy(update={"users": owners})


def next_worker(cluster: Cluster, turn: int) -> tuple[str, int]:
    """Return the address of the worker of this turn, and the next turn."""
    placement = Placement(cluster, (), turn)
    name = placement.place(SliceKey("any/slice"), VmName("vm"), None, Amount(vms=1))
    return str(cluster.host(name).address), placement.turn
