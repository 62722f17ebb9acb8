"""One slice at work on by one call: its file is edited, its numbers are given out, and then hosts follow.

Numbers come first, all in one short turn with the database's lock, so that callers at once do not take each other's.
What then fails on hosts is taken back: the file is as it was, and what was made of it goes.
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
from reconciler.orchestrator.cluster_view import listed, narrowed
from reconciler.orchestrator.database import Database
from reconciler.orchestrator.remote_executor import Approve, RemoteExecutor
from reconciler.orchestrator.slice_at_work import SliceAtWork, adds_only, at_work
from reconciler.orchestrator.tally import owner
from reconciler.orchestrator.views import State, slice_state
from reconciler.plan.resources import Disk, address
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, SliceKey

_LOG: Final = logging.getLogger("reconciler.orchestrator")
_NUMBERS: Final = workflow.Asked(only=(), refresh=False)
"""What is asked for where only numbers are to be given out; no host is contacted."""


@contextmanager
def edited(database: Database, executor: RemoteExecutor, key: SliceKey) -> Iterator[SliceEdit]:
    """Be the only call at work on a slice, to change it; raises Refused where it has no file."""
    with at_work(executor, key) as work:
        yield SliceEdit(executor, key, work.path, database)


@dataclass(frozen=True, slots=True)
class SliceEdit(SliceAtWork):
    """A slice under its lock: how its file, its numbers and what stands of it are changed together."""

    database: Database

    def seen_as(self, cluster: Cluster) -> Cluster:
        """Have new VMs go to the database's workers, and its quotas hold, for callers at once too."""
        found = self.database.read()
        name = owner(self.key)
        within = narrowed(cluster, name, found.users[name].quota) if name in found.users else cluster
        return listed(within, found.workers_list)

    def change(self, text: str) -> None:
        """Give the file another text: a slice of which everything has its numbers, or nothing has changed.

        Hosts follow: of a slice in design only the overlays of its VMs are made, of one that runs all that is new runs
        too. Where they do not, the file has its old text again, and what was made goes.
        """
        before, stood = self.path.read_text(encoding="utf-8"), self.recorded()
        runs = slice_state(stood, self.key) is State.RUNNING
        self._number(text, adds_only)
        try:
            self.follow(None if runs else self._disks())
        except (Refused, ReconcilerError):
            self._take_back(before, stood)
            raise

    def begin(self, text: str) -> None:
        """Make the file of a slice that has none, and give it its numbers."""
        self._number(text, adds_only)

    def _number(self, text: str, approve: Approve) -> None:
        with self.database.locked():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path, mode=SHARED) as draft:
                draft.write_text(text, encoding="utf-8")
                self.executor.apply(self._draft(draft), _NUMBERS, approve)
            self.database.mirror(self.executor.recorded())

    def _draft(self, draft: Path) -> workflow.Inputs:
        """Read a draft; what is wrong with it is told without its place, which whoever called never sees."""
        try:
            return self.read(draft)
        except SpecError as error:
            raise SpecError([replace(problem, location=None) for problem in error.found]) from None

    def _disks(self) -> list[Address]:
        return [address(Disk, f"{self.key}/{name}") for name in self.files()[1].vms]

    def _take_back(self, before: str, stood: StateSnapshot) -> None:
        """Undo a change that hosts did not follow; what cannot be undone now goes with the next call or apply."""
        new = self.recorded().resources.keys() - stood.resources.keys()
        try:
            self._number(before, partial(adds_only, besides=new))
        except (Refused, ReconcilerError):
            _LOG.exception("%s: what was begun is not all taken back; the next apply does it", self.key)
            with self.database.locked():
                write_file(self.path, before, mode=SHARED)
                self.database.mirror(self.executor.recorded())
