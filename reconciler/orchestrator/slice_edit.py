"""Edits a slice in one call: changes its file, allocates its numbers, and then applies it to the hosts.

Numbers are allocated first, under the database's lock, so that concurrent calls do not take the same ones. If hosts
fail afterwards, the edit is rolled back: the file gets its old text, and what was created is deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from reconciler import workflow
from reconciler.errors import ReconcilerError, SpecError
from reconciler.files import SHARED, replacing, write_file
from reconciler.orchestrator.answers import Refused
from reconciler.orchestrator.database import Database
from reconciler.orchestrator.effective_cluster import with_quota, with_workers
from reconciler.orchestrator.locked_slice import LockedSlice, locked_slice, refuse_deletions
from reconciler.orchestrator.remote_executor import Approve, RemoteExecutor
from reconciler.orchestrator.usage import owner
from reconciler.orchestrator.views import State, slice_state
from reconciler.plan.resources import Disk, address
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, SliceKey

_LOG: Final = logging.getLogger("reconciler.orchestrator")
_NUMBERS: Final = workflow.Asked(only=(), refresh=False)
"""A request that only allocates numbers; no host is contacted."""


@contextmanager
def editing(database: Database, executor: RemoteExecutor, key: SliceKey) -> Iterator[SliceEdit]:
    """Lock a slice to edit it; raises Refused if it has no file."""
    with locked_slice(executor, key) as work:
        yield SliceEdit(executor, key, work.path, database)


@dataclass(frozen=True, slots=True)
class SliceEdit(LockedSlice):
    """A slice under its lock, of which file, numbers and resources are changed together."""

    database: Database

    def adjust(self, cluster: Cluster) -> Cluster:
        """Return the cluster with the database's workers and quotas, which apply to concurrent calls too."""
        found = self.database.read()
        name = owner(self.key)
        within = with_quota(cluster, name, found.users[name].quota) if name in found.users else cluster
        return with_workers(within, found.workers_list)

    def change(self, text: str) -> None:
        """Replace the file's text and allocate numbers for it, both or neither, then apply it to the hosts.

        In a slice in design, only the overlays of its VMs are created; in a running slice, everything new is started.
        If that fails, the file gets its old text again, and what was created is deleted.
        """
        before, old_state = self.path.read_text(encoding="utf-8"), self.snapshot()
        runs = slice_state(old_state, self.key) is State.RUNNING
        self._allocate(text, refuse_deletions)
        try:
            self.apply(None if runs else self._disks())
        except (Refused, ReconcilerError):
            self._roll_back(before, old_state)
            raise

    def create(self, text: str) -> None:
        """Create the file of a new slice, and allocate its numbers."""
        self._allocate(text, refuse_deletions)

    def _allocate(self, text: str, approve: Approve) -> None:
        with self.database.locked():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path, mode=SHARED) as draft:
                draft.write_text(text, encoding="utf-8")
                self.executor.apply(self._draft(draft), _NUMBERS, approve)
            self.database.update_from(self.executor.snapshot())

    def _draft(self, draft: Path) -> workflow.Inputs:
        """Read a draft; its errors have no location, because the caller never sees the draft."""
        try:
            return self.read(draft)
        except SpecError as error:
            raise SpecError([replace(problem, location=None) for problem in error.found]) from None

    def _disks(self) -> list[Address]:
        return [address(Disk, f"{self.key}/{name}") for name in self.files()[1].vms]

    def _roll_back(self, before: str, old_state: StateSnapshot) -> None:
        """Roll back an edit that failed on hosts; what cannot be undone now is deleted by the next call or apply."""
        new = self.snapshot().resources.keys() - old_state.resources.keys()
        try:
            self._allocate(before, partial(refuse_deletions, besides=new))
        except (Refused, ReconcilerError):
            _LOG.exception("%s: the edit is only partly rolled back; the next apply completes this", self.key)
            with self.database.locked():
                write_file(self.path, before, mode=SHARED)
                self.database.update_from(self.executor.snapshot())
