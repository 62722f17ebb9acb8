"""One slice under its lock: its file, what is recorded of it, and how hosts follow; changing the file is edit.py's."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reconciler import workflow
from reconciler.orchestrator.answers import SLICE_NOT_FOUND, Refused
from reconciler.orchestrator.remote_executor import RemoteExecutor
from reconciler.orchestrator.views import resources_of
from reconciler.plan.model import Action, Change, Plan
from reconciler.plan.resources import Disk, Resource
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, SliceKey


@contextmanager
def at_work(executor: RemoteExecutor, key: SliceKey) -> Iterator[SliceAtWork]:
    """Be the only call at work on a slice; raises Refused where it is no longer recorded, or has no file."""
    with executor.slices.locked(key):
        if key not in executor.recorded().allocations:
            raise Refused(SLICE_NOT_FOUND)
        path = executor.slices.find(key)
        if path is None:
            raise Refused(f"{key} is recorded, but {executor.slices.path} has no file of it: put it there to go on")
        yield SliceAtWork(executor, key, path)


@dataclass(frozen=True, slots=True)
class SliceAtWork:
    """A slice that no other call is at work on; its file and record are read anew at each look."""

    executor: RemoteExecutor
    key: SliceKey
    path: Path

    def seen_as(self, cluster: Cluster) -> Cluster:
        """Have the cluster as its file has it."""
        return cluster

    def read(self, path: Path) -> workflow.Inputs:
        """Read the cluster's file, and one of this slice."""
        return self.executor.inputs(path, seen_as=self.seen_as)

    def files(self) -> tuple[Cluster, ExpandedSlice]:
        """Return the cluster and the slice as their files are now."""
        inputs = self.read(self.path)
        return inputs.cluster.cluster, inputs.slices[0].slice

    def recorded(self) -> StateSnapshot:
        """Read what is recorded of the slice."""
        return self.executor.recorded(self.key)

    def resources(self) -> Collection[Resource]:
        """Return all that is to stand of the slice once it runs."""
        return resources_of(*self.files(), self.recorded().allocations[self.key]).values()

    def follow(self, only: Collection[Address] | None = None, without: Collection[Address] = ()) -> None:
        """Have the hosts carry the slice as its file has it, within these bounds; nothing else is taken from it."""
        asked = workflow.Asked(only=None if only is None else tuple(only), without=tuple(without))
        self.executor.apply(self.read(self.path), asked, partial(adds_only, besides=without))


def adds_only(agreed: Plan, besides: Collection[Address] = ()) -> None:
    """Raise Refused where a plan takes away more than these: a file that was edited by hand is not applied unasked."""
    taken = [change.address for change in agreed.changes if _takes_away(change) and change.address not in besides]
    if taken:
        raise Refused(
            f"the file of {', '.join(agreed.slices)} was changed otherwise: to go on would destroy "
            f"{', '.join(taken)}; look at it with `reconciler plan`, and apply it"
        )


def _takes_away(change: Change) -> bool:
    if change.subject.slice is None:
        return False  # what no slice needs any more
    return change.action is Action.DELETE or (change.action is Action.REPLACE and isinstance(change.subject, Disk))
