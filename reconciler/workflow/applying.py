"""Prepares an apply as data that can be reviewed, and performs exactly what was prepared.

Between `prepare` and `perform` a front end shows the plan and asks, outside any event loop. The locks of the slices
stay held, and a thread renews them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.execution.attempt import Private
from reconciler.apply.execution.events import ApplyReport
from reconciler.apply.observation.preflight import HostPreflight
from reconciler.apply.transport.command import RemoteFile
from reconciler.engine import Engine
from reconciler.errors import DataLoss, NumbersTaken, StateMoved
from reconciler.plan.data_loss import losses_text, unasked_losses
from reconciler.plan.equivalence import same_but_for_numbers, same_work
from reconciler.plan.model import Change, Plan, Step
from reconciler.plan.planfile import plan_digest
from reconciler.plan.resources import Vm
from reconciler.plan.resources.base import GraphRole, kind_in
from reconciler.plan.snapshot import SHARED, Cordon, StateSnapshot, Status
from reconciler.spec.models.names import Address, HostName, SliceKey
from reconciler.spec.quoting import listed
from reconciler.state.store import Lock, StateReader, Verb
from reconciler.workflow.journal import StoreJournal
from reconciler.workflow.load import Inputs, image_files
from reconciler.workflow.ownership import claims_with_copies, release_unused, settle_copies
from reconciler.workflow.planning import NOTHING_ELSE, Asked, plan
from reconciler.workflow.preflight import (
    changes_plan,
    occupied_ports,
    preflight,
    refuse_disks_without_room,
    refuse_occupied_ports,
)
from reconciler.workflow.refresh import (
    NOT_REFRESHED,
    Refreshed,
    UnseenHost,
    concerning,
    hosts_of,
    leftover_hosts,
    refresh,
    unreachable,
)
from reconciler.workflow.renames import every_name
from reconciler.workflow.steps import OpenApply, run_steps

ATTEMPTS = 10
"""How often a plan is made again because the state has changed between reading and beginning."""

_SHOWN = 6
"""How many disks an error names whose data would be lost."""

SHARED_LOCK_TIMEOUT = 60.0
"""The least time to wait for the lock of shared resources, in seconds: other applies hold it for seconds only."""


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """The plan of an apply, and the executor's report (None if there was nothing to do, or the plan was declined).

    `renumbered` says that other applies took the first numbers, and that the plan has new ones. `unseen` are hosts that
    could not be read.
    """

    plan: Plan
    approved: bool
    report: ApplyReport | None = None
    renumbered: bool = False
    unseen: tuple[UnseenHost, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything in the plan is done, and every host that the plan concerns was read."""
        return self.approved and (self.report is None or self.report.ok) and not self.unseen


@dataclass(frozen=True, slots=True)
class PreparedApply:
    """A plan, under the locks of its slices; leaving the context releases them.

    `refreshed` is how the hosts differed from the state, and what was read there. A `saved` plan is never made again.
    `cordoned` are the hosts that the plan passed over for its new VMs.
    """

    plan: Plan
    inputs: Inputs
    engine: Engine
    locks: tuple[Lock, ...]
    asked: Asked
    refreshed: Refreshed
    held: AsyncExitStack
    saved: bool = False
    renumbered: bool = False
    cordoned: Mapping[HostName, Cordon] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The digest by which an approval names the plan."""
        return plan_digest(self.plan)

    async def __aenter__(self) -> Self:
        """Return itself; the locks are held already."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the locks."""
        await self.held.__aexit__(kind, error, trace)

    def declined(self) -> ApplyResult:
        """Return the result of an apply that nobody approved."""
        return ApplyResult(self.plan, approved=False)


async def prepare(engine: Engine, inputs: Inputs, asked: Asked = NOTHING_ELSE) -> PreparedApply:
    """Lock the slices, refresh their hosts, and plan; nothing is changed.

    The plan includes the repair of drift. The hosts of slices to destroy are not refreshed. Raises StateLocked if
    another apply holds a slice.
    """
    async with AsyncExitStack() as stack:
        names = {*every_name(inputs), *asked.destroy}
        locks = await stack.enter_async_context(engine.locked(names))
        planned = await engine.worker.run(plan, inputs, engine.store, asked)
        drafted = hosts_of(inputs, planned)
        found = await _preflight(engine, drafted)
        seen = NOT_REFRESHED
        if asked.refresh and inputs.slices:
            seen = await refresh(inputs, engine.store, engine.connector, planned, asked.destroy, engine.drivers)
        elif asked.refresh:
            seen = replace(NOT_REFRESHED, down=await unreachable(engine.connector, leftover_hosts(planned)))
        seen = replace(seen, occupied=occupied_ports(found))
        if changes_plan(seen, planned):
            planned = await engine.worker.run(plan, inputs, engine.store, asked, seen)
            seen = concerning(inputs, seen, planned)
        if more := hosts_of(inputs, planned) - drafted:  # VMs go elsewhere, as their workers are down
            found = {**found, **await _preflight(engine, more)}
            seen = replace(seen, occupied=occupied_ports(found))
            planned = await engine.worker.run(plan, inputs, engine.store, asked, seen)
        refuse_disks_without_room(planned, found)
        cordoned = await engine.worker.run(engine.store.cordons) if _places_vms(planned) else {}
        return PreparedApply(planned, inputs, engine, locks, asked, seen, held=stack.pop_all(), cordoned=cordoned)
    raise AssertionError  # the stack suppresses no exception


def _places_vms(planned: Plan) -> bool:
    """Whether a plan has chosen a worker for a VM, which is new or moves."""
    return any(
        change.after is not None and (change.before is None or change.before.host != change.after.host)
        for change in planned.changes
        if kind_in(change.address) == Vm.kind
    )


async def _preflight(engine: Engine, hosts: Iterable[HostName]) -> Mapping[HostName, HostPreflight]:
    """Read hosts, if the engine has real ones."""
    return {} if engine.origin is None else await preflight(engine.store, engine.connector, hosts)


async def prepare_saved(engine: Engine, saved: Plan, inputs: Inputs) -> PreparedApply:
    """Lock the slices of a saved plan, and check that the state has not changed since; hosts are not refreshed.

    Raises StateLocked if another apply holds a slice, and StateMoved if the plan is stale: it is never made again.
    """
    async with AsyncExitStack() as stack:
        locks = await stack.enter_async_context(engine.locked(_names(saved)))
        await engine.worker.run(engine.store.check_plan, saved)
        found = await _preflight(engine, hosts_of(inputs, saved))
        refuse_disks_without_room(saved, found)
        refuse_occupied_ports(saved, found)
        # A plan that was made before the state existed gets the lineage of the state: hosts refuse other lineages.
        agreed = replace(saved, lineage=(await engine.worker.run(engine.store.read, ())).lineage)
        return PreparedApply(
            agreed, inputs, engine, locks, NOTHING_ELSE, NOT_REFRESHED, held=stack.pop_all(), saved=True
        )
    raise AssertionError  # the stack suppresses no exception


def _names(saved: Plan) -> set[SliceKey]:
    """Return the slices of a plan, by all their names."""
    return {*saved.slices, *(rename.former for rename in saved.renames)}


def renumber(prepared: PreparedApply) -> PreparedApply:
    """Plan again from the state as it is now, for an apply whose numbers were taken; under the same locks.

    The result must be approved like a new plan. Raises StateMoved if more than numbers would be different.
    """
    again = _plan_again(prepared)
    if not same_but_for_numbers(prepared.plan, again):
        raise StateMoved("the state has changed since the plan was made", hint="run apply again to see the new plan")
    new_numbers = again.allocations != prepared.plan.allocations
    return replace(prepared, plan=again, renumbered=prepared.renumbered or new_numbers)


async def perform(
    prepared: PreparedApply, *, approved: str | None = None, accept_data_loss: bool = False
) -> ApplyResult:
    """Do exactly what was prepared, or refuse.

    `approved` is the digest of the plan that was approved, if the approval came from elsewhere. Raises DataLoss if
    VMs lose data although nobody asked for that or accepted it, NumbersTaken if other applies were given numbers of
    this plan, StateMoved if the state has changed so that the plan is another, and StateLost if another process has
    taken over the locks.
    """
    if approved is not None and approved != prepared.digest:
        raise StateMoved("the plan that was approved is not this plan", hint="review and approve this plan")
    if not accept_data_loss and (lost := unasked_losses(prepared.plan)):
        raise _data_loss(lost)
    engine = prepared.engine
    if prepared.asked.lost:
        await _forget_lost(prepared)
    if prepared.plan.empty:
        state = await engine.worker.run(engine.store.read, ())
        if not _numbers_moved(prepared.plan, state):
            await release_unused(engine, prepared.locks, _freed(prepared))
            return ApplyResult(
                prepared.plan, approved=True, renumbered=prepared.renumbered, unseen=prepared.refreshed.unseen
            )
    await engine.worker.run(engine.keep_copy)
    async with _begun(prepared) as (current, opened):
        report = await run_steps(
            engine,
            opened,
            current.steps,
            StoreJournal(opened.store, opened.number, engine.worker),
            uploads=await engine.worker.run(_uploads, prepared.inputs, current.steps, engine.store),
            private=(engine.contents or partial(_private_contents, prepared.inputs))(current.steps),
            known=prepared.refreshed.known,
            claims=await claims_with_copies(engine, opened, current),
            settle=partial(settle_copies, engine, opened, current, _freed(prepared)),
        )
    return ApplyResult(
        current, approved=True, report=report, renumbered=prepared.renumbered, unseen=prepared.refreshed.unseen
    )


async def _forget_lost(prepared: PreparedApply) -> None:
    """Remove what a host had that does not come back from the state; the apply then begins as if it had never been."""
    engine = prepared.engine
    await engine.worker.run(engine.keep_copy)
    async with engine.locked(
        {SHARED}, store=engine.store.under(prepared.locks), seconds=max(SHARED_LOCK_TIMEOUT, engine.lock_timeout)
    ) as shared:
        store = engine.store.under((*prepared.locks, *shared))
        await engine.worker.run(store.forget, prepared.asked.lost)


def _freed(prepared: PreparedApply) -> list[HostName]:
    """Return the hosts to free if they have nothing: for a destroy all, as an earlier one may have been killed."""
    if not prepared.asked.destroy:
        return []
    return [HostName(host.name) for host in prepared.inputs.cluster.cluster.hosts()]


async def apply(
    engine: Engine, inputs: Inputs, asked: Asked = NOTHING_ELSE, *, accept_data_loss: bool = False
) -> ApplyResult:
    """Prepare and perform at once, for callers that approve every plan."""
    async with await prepare(engine, inputs, asked) as prepared:
        return await perform(prepared, accept_data_loss=accept_data_loss)


def _data_loss(lost: Sequence[Change]) -> DataLoss:
    told = [f"{change.address} on {change.subject.host} ({change.action}: {change.reason})" for change in lost]
    return DataLoss(
        f"{losses_text(len({change.name for change in lost}))}, and nobody asked for that: {listed(told, _SHOWN)}",
        hint="nothing was changed; undo the change or put the file back, or add --accept-data-loss to lose the data",
    )


def _numbers_moved(planned: Plan, state: StateSnapshot) -> bool:
    """Whether an empty plan still has numbers to write or to free.

    That is so for a slice whose pool grew, or one without resources, and after an apply that was stopped before it did
    anything with the numbers that it was given.
    """
    if not state.held.keys().isdisjoint(planned.slices):
        return True
    had = {key: state.allocations.get(key) for key in planned.slices}
    return had != {key: planned.allocations.get(key) for key in planned.slices}


@asynccontextmanager
async def _begun(prepared: PreparedApply) -> AsyncIterator[tuple[Plan, OpenApply]]:
    """Open the apply in the state, and hold the shared lock if the plan changes shared resources.

    Another apply may begin between reading and beginning. Then the plan is made again, and must do the same work.
    """
    engine, current = prepared.engine, prepared.plan
    for _ in range(ATTEMPTS):
        async with _shared_lock(prepared, current) as locks:
            store = engine.store.under(locks)
            try:
                digest = plan_digest(current)
                number = await engine.worker.run(store.begin, current, engine.holder, digest, _verb(prepared))
            except StateMoved as moved:
                if prepared.saved:
                    raise
                current = await engine.worker.run(_same_again, prepared, current, moved)
                continue
            yield current, OpenApply(current.lineage, number, store, locks)
            return
    raise StateMoved(
        "the state keeps changing under this plan", hint="wait until the other applies have ended, then try again"
    )


def _verb(prepared: PreparedApply) -> Verb:
    """Return what the history calls an apply: without slice files, all that it does is to destroy."""
    return Verb.DESTROY if prepared.asked.destroy and not prepared.inputs.slices else prepared.asked.verb


def _same_again(prepared: PreparedApply, current: Plan, moved: StateMoved) -> Plan:
    """Return the plan made again, if it does the same work; raises NumbersTaken or StateMoved if not."""
    again = _plan_again(prepared)
    if same_work(current, again):
        return again
    if not same_but_for_numbers(current, again):
        raise moved
    if current.allocations == again.allocations:
        raise NumbersTaken(moved.summary, hint=moved.hint)
    raise NumbersTaken(
        "numbers that this plan shows were given to others after it was made",
        hint="nothing was changed; run apply again: it shows the plan with new numbers",
    )


def _plan_again(prepared: PreparedApply) -> Plan:
    return plan(prepared.inputs, prepared.engine.store, prepared.asked, prepared.refreshed)


@asynccontextmanager
async def _shared_lock(prepared: PreparedApply, current: Plan) -> AsyncIterator[tuple[Lock, ...]]:
    """Hold the shared lock too if the plan changes shared resources; otherwise only wait until it is free.

    Applies of other slices hold it for seconds only. Raises StateLocked if it stays held.
    """
    engine = prepared.engine
    seconds = max(SHARED_LOCK_TIMEOUT, engine.lock_timeout)
    async with engine.locked({SHARED}, store=engine.store.under(prepared.locks), seconds=seconds) as shared:
        if any(step.subject.slice is None for step in current.steps):
            yield (*prepared.locks, *shared)
            return
    yield prepared.locks


def _uploads(inputs: Inputs, steps: Sequence[Step], reader: StateReader) -> dict[str, Path | RemoteFile]:
    """Return the files of images by their digest: those of the cluster file, and earlier ones that hosts still have.

    A disk that moves stays on its image, of which there may be no local file any more.
    """
    images = inputs.cluster.cluster.images
    found: dict[str, Path | RemoteFile] = {
        images[name].sha256: path for name, path in image_files(inputs.cluster).items()
    }
    bases = [step.after for step in steps if step.after is not None and step.after.graph_role is GraphRole.BASE]
    if any(base.content_digest not in found for base in bases):
        for entry in reader.read(()).resources.values():
            base, digest = entry.resource, entry.resource.content_digest
            if base.graph_role is GraphRole.BASE and digest and entry.status is Status.PRESENT:
                found.setdefault(digest, RemoteFile(base.host, base.name_on_host))
    return found


def _private_contents(inputs: Inputs, steps: Sequence[Step]) -> Private:
    """Return functions that make the private files of the resources to create, where the slice files are given."""
    found: dict[Address, Callable[[], bytes]] = {}
    slices = {file.slice.key: file.slice for file in inputs.slices}
    for step in steps:
        make = None if step.after is None else DRIVERS[step.after.kind].content
        if make is not None and step.subject.slice in slices:
            content = make(step.after, slices[SliceKey(step.subject.slice)])
            if content is not None:
                found[step.address] = content
    return found
