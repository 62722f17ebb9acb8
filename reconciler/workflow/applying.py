"""Applies plans: takes locks, refreshes, plans, asks for approval, and performs the plan on the hosts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.execution.attempt import Private
from reconciler.apply.execution.events import ApplyReport, Observer, Waiting
from reconciler.apply.execution.executor import execute
from reconciler.apply.execution.journal import Journal
from reconciler.apply.observation.observe import Drivers
from reconciler.apply.seed_image import seed_image
from reconciler.apply.transport.connection import Connector
from reconciler.apply.transport.fence import Fence
from reconciler.errors import DataLoss, StateError, StateLost, StateMoved
from reconciler.plan.equivalence import same_but_for_numbers, same_work
from reconciler.plan.model import Plan, Step
from reconciler.plan.planfile import plan_digest
from reconciler.plan.resources import Seed
from reconciler.plan.snapshot import SHARED, StateSnapshot
from reconciler.spec.models.names import Address, SliceKey, VmName
from reconciler.spec.models.secret import Secret
from reconciler.state.locks.leases import LockWait, hold
from reconciler.state.store import ApplyId, Holder, Lock, StateStore
from reconciler.workflow.journal import StoreJournal
from reconciler.workflow.load import Inputs, image_files
from reconciler.workflow.planning import DONE, NOTHING_ELSE, Asked, plan
from reconciler.workflow.refresh import look

ATTEMPTS = 10
"""How often a plan is made again because another apply was recorded between reading and beginning."""


PATIENCE = 60.0
"""Seconds to wait at least while another apply changes what slices share."""


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What came of an apply: the plan agreed on, and the executor's report (None: declined, or nothing to do).

    `renumbered` says that others were given numbers first, and this is the plan with new ones.
    """

    plan: Plan
    approved: bool
    report: ApplyReport | None = None
    renumbered: bool = False

    @property
    def ok(self) -> bool:
        """Whether all that was agreed on is done."""
        return self.approved and (self.report is None or self.report.ok)


def refuse_loss(agreed: Plan) -> bool:
    """Raise DataLoss, which names the disks that went missing with their data."""
    names = ", ".join(f"{change.address} on {change.subject.host}" for change in agreed.data_lost)
    raise DataLoss(
        f"the data of {names} is gone: the overlay is missing, and a new one would be empty",
        hint="nothing was changed; put the file back, or add --accept-data-loss to go on with an empty disk",
    )


def keep_numbers(_made_again: Plan) -> bool:
    """Do nothing with other numbers than those that were approved."""
    return False


@dataclass(frozen=True, slots=True)
class Hosts:
    """How the hosts are reached, how many at once, and how long slices' locks are waited for, in seconds.

    `drivers` are those of real hosts where none are given, and what is copied comes from the files unless `contents`
    says how it is made.
    """

    connector: Connector
    parallelism: int
    observer: Observer
    stop: asyncio.Event
    lock_timeout: float = 0.0
    drivers: Drivers | None = None
    contents: Callable[[Sequence[Step]], Private] | None = None


async def apply(  # noqa: PLR0913 - the edges of the world, each given by name
    inputs: Inputs,
    store: StateStore,
    hosts: Hosts,
    *,
    holder: Holder,
    approve: Callable[[Plan], bool],
    accept_loss: Callable[[Plan], bool] = refuse_loss,
    accept_numbers: Callable[[Plan], bool] = keep_numbers,
    asked: Asked = NOTHING_ELSE,
) -> ApplyResult:
    """Look at the slices' hosts, plan under the slices' locks, ask for approval, and perform the plan.

    What was changed on the hosts by other hands is part of the plan; what is to be destroyed is not looked at first.
    Where disks went missing with their data, `accept_loss` is asked as well; where others were given the plan's numbers
    before it began, `accept_numbers` about the plan with new ones. Raises StateLocked where another apply holds a
    slice, StateMoved where others have changed the record so that the plan is no longer what was approved, StateLost
    where another has taken the locks over before anything began.
    """
    names = {*(file.slice.key for file in inputs.slices), *asked.destroy}
    async with locked(store, names, holder, hosts, hosts.lock_timeout) as held:
        looks = asked.refresh and inputs.slices
        drifted = await look(inputs, store, hosts.connector, asked.destroy, hosts.drivers) if looks else {}
        work = _Work(store, held, holder, hosts, inputs, approve, accept_loss, accept_numbers)
        return await _do(plan(inputs, store, asked, drifted), work, lambda: plan(inputs, store, asked, drifted))


async def apply_saved(  # noqa: PLR0913 - as above
    agreed: Plan,
    inputs: Inputs,
    store: StateStore,
    hosts: Hosts,
    *,
    holder: Holder,
    approve: Callable[[Plan], bool],
    accept_loss: Callable[[Plan], bool] = refuse_loss,
) -> ApplyResult:
    """Ask for approval of a saved plan, and perform exactly that one; hosts are not looked at first.

    Raises StateLocked where another apply holds a slice, and StateMoved where the record has changed since: the plan is
    never made again.
    """
    async with locked(store, set(agreed.slices), holder, hosts, hosts.lock_timeout) as held:
        store.check_plan(agreed)
        # Where no record was when it was made, it is now this one's: hosts keep apart by lineage who works there.
        agreed = replace(agreed, lineage=store.read(()).lineage)
        return await _do(agreed, _Work(store, held, holder, hosts, inputs, approve, accept_loss))


@dataclass(frozen=True, slots=True)
class _Work:
    """With what an apply works: the record, the slices' locks and their holder, hosts and files, and who has a say."""

    store: StateStore
    held: tuple[Lock, ...]
    holder: Holder
    hosts: Hosts
    inputs: Inputs
    approve: Callable[[Plan], bool]
    accept_loss: Callable[[Plan], bool]
    accept_numbers: Callable[[Plan], bool] = keep_numbers


async def _do(agreed: Plan, work: _Work, again: Callable[[], Plan] | None = None) -> ApplyResult:
    """Ask for approval, and perform the plan."""
    if not work.approve(agreed) or (agreed.data_lost and not work.accept_loss(agreed)):
        return ApplyResult(agreed, approved=False)
    if agreed.empty and not _allocations_moved(agreed, work.store.read(())):
        return ApplyResult(agreed, approved=True)
    async with _begun(agreed, work, again) as (current, opened):
        report = await perform(
            opened,
            current.steps,
            work.hosts,
            StoreJournal(opened.store, opened.number),
            uploads=_uploads(work.inputs),
            private=(work.hosts.contents or partial(_seeds, work.inputs))(current.steps),
        )
    renumbered = current.allocations != agreed.allocations
    return ApplyResult(current, approved=True, report=report, renumbered=renumbered)


def locked(
    store: StateStore, names: Collection[str], holder: Holder, hosts: Hosts, seconds: float
) -> AbstractAsyncContextManager[tuple[Lock, ...]]:
    """Hold and renew locks, after waiting for them up to so many seconds."""
    return hold(store, names, holder, LockWait(seconds, lambda words: hosts.observer(Waiting(words)), hosts.stop))


def _allocations_moved(agreed: Plan, recorded: StateSnapshot) -> bool:
    """Whether an empty plan still has numbers to write, as for a slice whose pool grew, or one without anything."""
    had = {key: recorded.allocations.get(key) for key in agreed.slices}
    return had != {key: agreed.allocations.get(key) for key in agreed.slices}


@dataclass(frozen=True, slots=True)
class Opened:
    """An apply that is open in the record of a lineage, and the locks under which its store writes."""

    lineage: str
    number: ApplyId
    store: StateStore
    locks: tuple[Lock, ...]


@asynccontextmanager
async def _begun(agreed: Plan, work: _Work, again: Callable[[], Plan] | None) -> AsyncIterator[tuple[Plan, Opened]]:
    """Record the start of an apply, and hold the lock of what slices share where the plan touches that.

    Another apply may begin between our reading and our beginning; the plan is then made again, and must do the same, or
    the same with other numbers where these are accepted. Where it cannot be made again, StateMoved is raised.
    """
    current = agreed
    for _ in range(ATTEMPTS):
        async with _shared_lock(work, current) as locks:
            ours = work.store.under(locks)
            try:
                number = ours.begin(current, work.holder, plan_digest(current))
            except StateMoved as moved:
                if again is None:
                    raise
                agreed = current = _settle(agreed, again(), work, moved)
                continue
            yield current, Opened(current.lineage, number, ours, locks)
            return
    raise StateMoved(
        "the record keeps changing under this plan", hint="wait for the other applies to end, then try again"
    )


def _settle(agreed: Plan, current: Plan, work: _Work, moved: StateMoved) -> Plan:
    """Return a plan made again, where it may take the place of the one agreed on; raises StateMoved where not."""
    if same_work(agreed, current):
        return current
    if same_but_for_numbers(agreed, current):
        if work.accept_numbers(current):
            return current
        if agreed.allocations != current.allocations:
            raise StateMoved(
                "numbers that this plan shows were given to others after it was made",
                hint="nothing was changed; apply again: it shows the plan with new numbers",
            )
    raise moved


@asynccontextmanager
async def _shared_lock(work: _Work, current: Plan) -> AsyncIterator[tuple[Lock, ...]]:
    """Hold the shared lock too where the plan changes what slices share; elsewhere only wait until nobody does.

    Applies of other slices hold it for seconds, so it is waited for; raises StateLocked where it stays held.
    """
    patience = max(PATIENCE, work.hosts.lock_timeout)
    async with locked(work.store.under(work.held), {SHARED}, work.holder, work.hosts, patience) as shared:
        if any(step.subject.slice is None for step in current.steps):
            yield (*work.held, *shared)
            return
    yield work.held


async def perform(
    opened: Opened,
    steps: Sequence[Step],
    hosts: Hosts,
    journal: Journal,
    *,
    uploads: Mapping[str, Path] | None = None,
    private: Private | None = None,
) -> ApplyReport:
    """Perform the steps of an apply that is open, and close it; of what fails, the first error is told."""
    try:
        report = await execute(
            steps,
            connector=hosts.connector,
            journal=journal,
            drivers=hosts.drivers or DRIVERS,
            uploads=uploads or {},
            private=private,
            parallelism=hosts.parallelism,
            observer=hosts.observer,
            stop=hosts.stop,
            monotonic=time.monotonic,
            fence=Fence(opened.lineage, {lock.name: lock.token for lock in opened.locks}),
        )
    except BaseException:
        with suppress(StateError):  # where the record is what failed, that is told, and not this again
            opened.store.finish(opened.number, "interrupted", 0)
        raise
    if report.lost is not None:
        report = replace(report, lost=_named(report.lost, opened))
    with suppress(StateLost):  # the report says so; in history the apply stays open, as a killed one does
        opened.store.finish(opened.number, DONE if report.ok else "failed", len(report.skipped))
    return report


def _named(lost: StateLost, opened: Opened) -> StateLost:
    """Say who took the locks over, where a host knows only that somebody did.

    A host that has seen tokens which the record knows nothing of tells that the record is an older copy of itself; what
    is given out from here on is higher than what the host has seen.
    """
    if lost.host is None:
        return lost
    try:
        opened.store.renew(opened.locks)
        opened.store.outgrow(lost.seen)
    except StateLost as known:
        return known
    return StateLost(
        f"{lost.summary}, of whom this record knows nothing: it was restored from an older copy, or there are two",
        hint="see to it that nobody uses another copy of the record, then apply again",
    )


def _uploads(inputs: Inputs) -> dict[str, Path]:
    images = inputs.cluster.cluster.images
    return {images[name].sha256: path for name, path in image_files(inputs).items()}


def _seeds(inputs: Inputs, steps: Sequence[Step]) -> dict[Address, Callable[[], bytes]]:
    """Return how the content of each seed that is to be made is made, where the files have its user-data."""

    def make(seed: Seed, user_data: Secret) -> bytes:
        return seed_image(seed, user_data.reveal())

    found: dict[Address, Callable[[], bytes]] = {}
    slices = {file.slice.key: file.slice for file in inputs.slices}
    for step in steps:
        if isinstance(step.after, Seed) and step.after.slice in slices:
            user_data = slices[SliceKey(step.after.slice)].vms[VmName(step.after.hostname)].cloud_init
            if user_data is not None:
                found[step.address] = partial(make, step.after, user_data)
    return found
