"""Chooses the worker of each new VM by the placement rule and the capacity of the workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple, assert_never

from reconciler.errors import Limit, LimitError, PlanError
from reconciler.plan.allocation.sizes import VmSize
from reconciler.plan.snapshot import SliceAllocation, StateSnapshot, VmAllocation
from reconciler.spec.models.cluster import Cluster, Worker
from reconciler.spec.models.fields import format_size
from reconciler.spec.models.names import HostName, SliceKey, VmName


class Closed(NamedTuple):
    """Why a host takes no new VMs, as the end of a clause about it."""

    reason: str
    cordoned: bool

    def __str__(self) -> str:
        """Format the reason."""
        return self.reason


NONE_CLOSED: Mapping[HostName, Closed] = {}
_REOPEN = "repair or uncordon a worker, or add one to the cluster file"


def closed_hosts(state: StateSnapshot) -> dict[HostName, Closed]:
    """Return the hosts that take no new VMs."""
    down = {host: Closed(f"could not be reached ({reason})", cordoned=False) for host, reason in state.down.items()}
    return down | {host: Closed(str(cordon), cordoned=True) for host, cordon in state.cordoned.items()}


class Amount(NamedTuple):
    """What VMs take up on a worker; memory and disk are in bytes."""

    vms: int = 0
    vcpus: int = 0
    memory: int = 0
    disk: int = 0

    def least(self, other: Amount) -> Amount:
        """Return the smaller of both, for each number."""
        return Amount(*(min(pair) for pair in zip(self, other, strict=True)))

    def beyond(self, other: Amount) -> Amount:
        """Return by how much each number is larger than the other one."""
        return Amount(*(max(mine - theirs, 0) for mine, theirs in zip(self, other, strict=True)))


def amount_of(vm: VmAllocation | VmSize, disk: int = 0) -> Amount:
    """Return what a VM takes up; `disk` counts where its allocation, of an earlier version, has no disk."""
    return Amount(1, vm.vcpus, vm.memory, vm.disk or disk)


class _Load:
    """What a worker carries, and its limits; None is no limit."""

    def __init__(self, worker: Worker) -> None:
        capacity = worker.capacity
        self.name = HostName(worker.name)
        self.limits = (capacity.vms, capacity.vcpus, capacity.memory, capacity.disk)
        self.used = Amount()

    def holds(self, asked: Amount) -> bool:
        return all(
            limit is None or not more or used + more <= limit
            for limit, used, more in zip(self.limits, self.used, asked, strict=True)
        )

    def add(self, asked: Amount) -> None:
        self.used = Amount(*(used + more for used, more in zip(self.used, asked, strict=True)))


class Placement:
    """Places VMs one after the other; `turn` is the round-robin turn after those placed so far.

    The rules: `round-robin` takes workers in turn, `spread` the one with the fewest VMs, `pack` the first of the file
    with room, `locality` the one that has the most of the VM's slice, then the one with the fewest VMs. Workers in
    `closed` take no new VMs, except those that are pinned to one that is down: its steps fail, and others are done.
    """

    def __init__(
        self,
        cluster: Cluster,
        others: Iterable[SliceAllocation],
        turn: int,
        closed: Mapping[HostName, Closed] = NONE_CLOSED,
    ) -> None:
        self.turn = turn
        self._closed = closed
        self._rule = cluster.placement
        self._together: Counter[tuple[SliceKey, HostName]] = Counter()
        self._loads = [_Load(worker) for worker in cluster.workers]
        self._by_name = {load.name: load for load in self._loads}
        for slice_ in others:
            for vm in slice_.vms.values():
                self._count(vm.worker, amount_of(vm))

    def knows(self, worker: HostName) -> bool:
        """Whether the cluster file still has the worker."""
        return worker in self._by_name

    def add(self, key: SliceKey, worker: HostName, taken: Amount) -> None:
        """Count a VM that is on a worker already. Capacity never evicts one."""
        self._together[key, worker] += 1
        self._count(worker, taken)

    def _count(self, worker: HostName, more: Amount) -> None:
        if load := self._by_name.get(worker):
            load.add(more)

    def grow(self, label: str, worker: HostName, asked: Amount) -> None:
        """Count the growth of a VM that is on a worker already; raises LimitError if the worker has no room for it."""
        load = self._by_name[worker]
        if not load.holds(asked):
            raise _no_room(label, [load], asked)
        load.add(asked)

    def place(self, key: SliceKey, vm: VmName, pinned: str | None, asked: Amount) -> HostName:
        """Return a worker for a new VM and count it there; raises LimitError if no worker has room for it.

        A pinned VM takes no turn.
        """
        candidates = [self._by_name[HostName(pinned)]] if pinned is not None else self._candidates(key)
        closed = self._closed if pinned is None else {}
        if pinned is not None and (why := self._closed.get(HostName(pinned))) and why.cordoned:
            raise PlanError(
                f"{key}/{vm} has `worker: {pinned}`, which {why}",
                hint=f"take it out of the slice file, or run `reconciler uncordon {pinned}`",
            )
        usable = (place for place, load in enumerate(candidates) if load.name not in closed and load.holds(asked))
        position = next(usable, None)
        if position is None:
            raise _no_room(f"{key}/{vm}", self._loads if pinned is None else candidates, asked, closed)
        if pinned is None and self._rule == "round-robin":
            self.turn += position + 1
        worker = candidates[position].name
        self.add(key, worker, asked)
        return worker

    def _candidates(self, key: SliceKey) -> list[_Load]:
        """Return the workers in the order in which the rule prefers them."""
        match self._rule:
            case "round-robin":
                start = self.turn % len(self._loads)
                return self._loads[start:] + self._loads[:start]
            case "spread":
                return sorted(self._loads, key=lambda load: load.used[0])
            case "pack":
                return self._loads
            case "locality":
                return sorted(self._loads, key=lambda load: (-self._together[key, load.name], load.used[0]))
            case _:
                assert_never(self._rule)


def _no_room(
    label: str, loads: list[_Load], asked: Amount, closed: Mapping[HostName, Closed] = NONE_CLOSED
) -> PlanError:
    """Name the resource that is short: the first of which not even one worker has enough; and the closed workers."""
    shut = "; ".join(f"{load.name} {closed[load.name]}" for load in loads if load.name in closed)
    loads = [load for load in loads if load.name not in closed]
    if not loads:
        return PlanError(f"no worker takes {label}: {shut}", hint=_REOPEN)
    hint = "destroy a VM, or add a worker or raise its capacity in the cluster file"
    if shut:
        hint = f"{hint}; these workers take no new VMs: {shut}"
    names = ", ".join(load.name for load in loads)
    for index, what in enumerate(("VMs", "vCPUs", "memory", "disk space")):
        free = {load: limit - load.used[index] for load in loads if (limit := load.limits[index]) is not None}
        if len(free) < len(loads) or max(free.values()) >= asked[index]:
            continue
        short, whose = loads, names
        if sum(free.values()) >= asked[index]:  # enough in all, but spread out: say how far the best worker gets
            short = [max(free, key=free.__getitem__)]
            whose = f"{short[0].name}, which has the most free of {names},"
        return LimitError(
            Limit.CAPACITY,
            f"{what} of {whose} for {label}",
            maximum=sum(load.limits[index] or 0 for load in short),
            used=sum(load.used[index] for load in short),
            asked=asked[index],
            show=format_size if what in {"memory", "disk space"} else str,
            hint=hint,
        )
    return PlanError(f"no worker of {names} has room for {label}", hint=hint)
