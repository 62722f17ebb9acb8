"""One slice under its lock: reads its file and state, and applies the file to the hosts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reconciler import workflow
from reconciler.orchestrator.answers import Answer, Refused
from reconciler.orchestrator.remote_executor import RemoteExecutor
from reconciler.orchestrator.views import resources_of
from reconciler.plan.model import Action, Change, Plan
from reconciler.plan.resources import Resource
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, SliceKey


@contextmanager
def locked_slice(executor: RemoteExecutor, key: SliceKey) -> Iterator[LockedSlice]:
    """Lock a slice against other calls; raises Refused if it is no longer in the state, or has no file."""
    with executor.slices.locked(key):
        if key not in executor.snapshot().allocations:
            raise Refused(Answer.SLICE_NOT_FOUND)
        path = executor.slices.find(key)
        if path is None:
            raise Refused(
                f"{key} is in the state, but {executor.slices.path} has no file for it: put the file there to continue"
            )
        yield LockedSlice(executor, key, path)


@dataclass(frozen=True, slots=True)
class LockedSlice:
    """A slice under its lock; its file and state are read again on each use."""

    executor: RemoteExecutor
    key: SliceKey
    path: Path

    def adjust(self, cluster: Cluster) -> Cluster:
        """Return the cluster that is used for this slice: that of the cluster file."""
        return cluster

    def read(self, path: Path) -> workflow.Inputs:
        """Read the cluster file, and one file of this slice."""
        return self.executor.inputs(path, adjust=self.adjust)

    def files(self) -> tuple[Cluster, ExpandedSlice]:
        """Return the cluster and the slice as their files are now."""
        inputs = self.read(self.path)
        return inputs.cluster.cluster, inputs.slices[0].slice

    def snapshot(self) -> StateSnapshot:
        """Read the state of the slice."""
        return self.executor.snapshot(self.key)

    def resources(self) -> Collection[Resource]:
        """Return every resource that the slice has when it runs."""
        return resources_of(*self.files(), self.snapshot().allocations[self.key]).values()

    def apply(self, only: Collection[Address] | None = None, without: Collection[Address] = ()) -> None:
        """Apply the slice's file to the hosts, limited to `only` and without `without`; nothing else is deleted."""
        asked = workflow.Asked(only=None if only is None else tuple(only), without=tuple(without))
        self.executor.apply(self.read(self.path), asked, partial(refuse_deletions, besides=without))


def refuse_deletions(agreed: Plan, besides: Collection[Address] = ()) -> None:
    """Raise Refused if a plan deletes more than these: an edit by hand must not be applied without approval."""
    deleted = [change.address for change in agreed.changes if _deletes(change) and change.address not in besides]
    if deleted:
        raise Refused(
            f"the file of {', '.join(agreed.slices)} was changed by hand: this call would destroy "
            f"{', '.join(deleted)}; check with `reconciler plan`, and apply the file first"
        )


def _deletes(change: Change) -> bool:
    if change.subject.slice is None:
        return False  # no slice needs it any more
    return change.action is Action.DELETE or (change.action is Action.REPLACE and change.subject.holds_data)
