"""Which worker a new VM gets: round-robin with a recorded turn, within every worker's capacity; placed VMs stay."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.errors import LimitError, PlanError
from reconciler.plan.record import SliceAllocation
from reconciler.spec.cluster import Cluster, Worker
from reconciler.spec.fields import format_size
from reconciler.spec.names import HostName


class _Load:
    """What a worker carries, against what it may carry; None is no limit."""

    def __init__(self, worker: Worker) -> None:
        capacity = worker.capacity
        self.name = HostName(worker.name)
        self.limits = (capacity.vms, capacity.vcpus, capacity.memory)
        self.used = [0, 0, 0]

    def holds(self, asked: tuple[int, int, int]) -> bool:
        return all(
            limit is None or not more or used + more <= limit
            for limit, used, more in zip(self.limits, self.used, asked, strict=True)
        )

    def add(self, asked: tuple[int, int, int]) -> None:
        self.used = [used + more for used, more in zip(self.used, asked, strict=True)]


class Placement:
    """Places VMs one after the other; `turn` is the round-robin turn after those placed so far."""

    def __init__(self, cluster: Cluster, others: Iterable[SliceAllocation], turn: int) -> None:
        self.turn = turn
        self._loads = [_Load(worker) for worker in cluster.workers]
        self._by_name = {load.name: load for load in self._loads}
        for slice_ in others:
            for vm in slice_.vms.values():
                self.add(vm.worker, vm.vcpus, vm.memory)

    def knows(self, worker: HostName) -> bool:
        """Whether the cluster file still has the worker."""
        return worker in self._by_name

    def add(self, worker: HostName, vcpus: int, memory: int) -> None:
        """Count a VM that is there already; capacity never evicts one."""
        if load := self._by_name.get(worker):
            load.add((1, vcpus, memory))

    def grow(self, label: str, worker: HostName, vcpus: int, memory: int) -> None:
        """Count what a VM that is there already gets more of; raises LimitError where its worker has no room for it."""
        asked = (0, vcpus, memory)
        load = self._by_name[worker]
        if not load.holds(asked):
            raise _no_room(label, [load], asked)
        load.add(asked)

    def place(self, label: str, pinned: str | None, vcpus: int, memory: int) -> HostName:
        """Return a worker for a new VM and count it there; raises LimitError where none has room for it.

        A pinned VM takes no turn.
        """
        asked = (1, vcpus, memory)
        if pinned is not None:
            load = self._by_name[HostName(pinned)]
            if not load.holds(asked):
                raise _no_room(label, [load], asked)
        else:
            load = self._next(label, asked)
        load.add(asked)
        return load.name

    def _next(self, label: str, asked: tuple[int, int, int]) -> _Load:
        for offset in range(len(self._loads)):
            load = self._loads[(self.turn + offset) % len(self._loads)]
            if load.holds(asked):
                self.turn += offset + 1
                return load
        raise _no_room(label, self._loads, asked)


def _no_room(label: str, loads: list[_Load], asked: tuple[int, int, int]) -> PlanError:
    """Name the resource that is short: the first of which not even one worker has enough."""
    names = ", ".join(load.name for load in loads)
    for index, what in enumerate(("VMs", "vCPUs", "memory")):
        free = {load: limit - load.used[index] for load in loads if (limit := load.limits[index]) is not None}
        if len(free) < len(loads) or max(free.values()) >= asked[index]:
            continue
        short, whose = loads, names
        if sum(free.values()) >= asked[index]:  # enough in all, but spread out: say how far the best worker gets
            short = [max(free, key=free.__getitem__)]
            whose = f"{short[0].name}, which has the most free of {names},"
        return LimitError(
            f"{what} of {whose} for {label}",
            limit=sum(load.limits[index] or 0 for load in short),
            used=sum(load.used[index] for load in short),
            asked=asked[index],
            show=format_size if what == "memory" else str,
            hint="destroy a VM, or add a worker or raise its capacity in the cluster file",
        )
    return PlanError(f"no worker of {names} has room for {label}", hint="add a worker, or raise a capacity")
