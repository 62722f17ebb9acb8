"""Runs the steps of an apply that the state has opened, and closes it in the history."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.execution.attempt import Private
from reconciler.apply.execution.events import ApplyReport
from reconciler.apply.execution.executor import execute
from reconciler.apply.execution.journal import Journal
from reconciler.apply.observation.observe import KnownFacts
from reconciler.apply.transport.claim import Claim
from reconciler.apply.transport.command import RemoteFile
from reconciler.apply.transport.fence import Fence
from reconciler.engine import Engine
from reconciler.errors import StateError, StateLost
from reconciler.plan.model import Step
from reconciler.spec.models.names import HostName
from reconciler.state.store import ApplyId, Lock, StateStore
from reconciler.workflow.planning import DONE


@dataclass(frozen=True, slots=True)
class OpenApply:
    """An apply that the state has opened, and the locks under which its store writes."""

    lineage: str
    number: ApplyId
    store: StateStore
    locks: tuple[Lock, ...]

    @property
    def fence(self) -> Fence:
        """What hosts compare before they do anything for this apply."""
        return fence_of(self.lineage, self.locks)


def fence_of(lineage: str, locks: Iterable[Lock]) -> Fence:
    """Return what hosts compare before they do anything for the holder of these locks."""
    return Fence(lineage, {lock.name: lock.token for lock in locks})


async def run_steps(  # noqa: PLR0913 - what the executor needs, each by name
    engine: Engine,
    opened: OpenApply,
    steps: Sequence[Step],
    journal: Journal,
    *,
    uploads: Mapping[str, Path | RemoteFile] | None = None,
    private: Private | None = None,
    known: Mapping[HostName, KnownFacts] | None = None,
    claims: Mapping[HostName, Claim] | None = None,
    settle: Callable[[], Awaitable[None]] | None = None,
) -> ApplyReport:
    """Run steps on the hosts and close their apply; if several things fail, the first error is raised.

    `settle` is awaited in between: an apply that is killed there counts as unfinished.
    """
    try:
        report = await execute(
            steps,
            connector=engine.connector,
            journal=journal,
            drivers=engine.drivers or DRIVERS,
            uploads=uploads or {},
            private=private,
            known=known,
            parallelism=engine.parallelism,
            observer=engine.observer,
            stop=engine.stop,
            monotonic=time.monotonic,
            fence=opened.fence,
            claims=claims,
        )
    except BaseException:
        with suppress(StateError):  # if the state is what failed, the error being raised says so already
            await engine.worker.run(opened.store.finish, opened.number, "interrupted", 0)
        raise
    if settle is not None and report.lock_lost is None:
        await settle()
    if report.lock_lost is not None:
        report = replace(report, lock_lost=await engine.worker.run(_new_holder, report.lock_lost, opened))
    with suppress(StateLost):  # the report says so; the history shows the apply as unfinished, as after a kill
        result = DONE if report.ok else "failed"
        await engine.worker.run(opened.store.finish, opened.number, result, len(report.skipped))
    return report


def _new_holder(lost: StateLost, opened: OpenApply) -> StateLost:
    """Return an error that names who took the locks over, if only a host reported that somebody did.

    A host may have seen tokens that this state has never given out. Then this state is an older copy. From here on it
    gives out higher tokens than the host has seen.
    """
    if lost.host is None:
        return lost
    try:
        opened.store.renew(opened.locks)
        opened.store.outgrow(lost.seen)
    except StateLost as known:
        return known
    return StateLost(
        f"{lost.summary}, whom this state does not know: it was restored from an older copy, or two copies are in use",
        hint="make sure that nobody uses another copy of the state, then run apply again",
    )
