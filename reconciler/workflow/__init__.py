"""Joins load, read, plan, apply and record; every front end calls this and nothing below it.

Front ends choose the concrete store and connector, show things and ask questions; what happens in which order, under
which lock, is settled here.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.apply.execution.events import Waiting
from reconciler.apply.execution.journal import Journal
from reconciler.errors import DataLoss, PlanError, SpecError, StateError, StateLost, StateMoved, UsageError
from reconciler.plan.build import build_plan
from reconciler.plan.equivalence import same_but_for_numbers, same_work
from reconciler.plan.graph import natural
from reconciler.plan.model import Plan, Step
from reconciler.plan.planfile import plan_digest
from reconciler.plan.resources import Resource, Seed
from reconciler.plan.snapshot import SHARED, ResourceDrift, StateSnapshot, Status
from reconciler.spec.check.files import check
from reconciler.spec.load import ClusterFile, SliceFile, load_cluster, read_slices
from reconciler.spec.models.names import Address, HostName, SliceKey, VmName
from reconciler.spec.models.secret import Secret
from reconciler.state.store import ApplyId, Holder, Lock, StateReader, StateStore
from reconciler.workflow.journal import StoreJournal

if TYPE_CHECKING:
    import asyncio

    from reconciler.apply.execution.attempt import Private
    from reconciler.apply.execution.events import ApplyReport, Observer
    from reconciler.apply.observation.doctor import Examination
    from reconciler.apply.observation.drift import Drift
    from reconciler.apply.observation.observe import Drivers
    from reconciler.apply.observation.orphans import Orphan, Unread
    from reconciler.apply.transport.connection import Connector

ATTEMPTS = 10
"""How often a plan is made again because another apply was recorded between reading and beginning."""

FEW = 3
"""So many slices may go by a prune whatever else is recorded; of more, a third at most."""

PATIENCE = 60.0
"""Seconds to wait at least while another apply changes what slices share."""

DONE = "done"
"""The result, in history, of an apply that did all that it was to do."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files of one run: the cluster's and the slices', checked against each other."""

    cluster: ClusterFile
    slices: tuple[SliceFile, ...] = ()

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each file, by its path: its SHA-256, or one that is dear to guess from where it has secrets."""
        found = {self.cluster.path: self.cluster.digest}
        for file in self.slices:
            found |= {file.path: file.digest, **file.attached}
        return found


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


def load(cluster: Path, paths: Sequence[Path]) -> Inputs:
    """Read and check the files; raises SpecError with every problem of every file, UsageError where no slice is found.

    Files that are well formed are checked against the cluster and each other even if others are not.
    """
    slices, malformed = read_slices(paths)
    try:
        cluster_file = load_cluster(cluster)
    except SpecError as error:
        raise SpecError([*error.found, *malformed]) from None
    if problems := [*malformed, *check(cluster_file, slices)]:
        raise SpecError(problems)
    if paths and not slices:
        where = ", ".join(str(path) for path in paths)
        raise UsageError(f"there is no slice file in {where}", hint="slice files end in .yaml or .yml")
    return Inputs(cluster_file, slices)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for beside the files: slices to take away, and resources to make anew as they are.

    `only` and `without` bound what is to stand for now, as `build_plan` says. Without `refresh`, an apply trusts the
    record and does not look at the hosts first.
    """

    destroy: tuple[SliceKey, ...] = ()
    replace: tuple[Address, ...] = ()
    only: tuple[Address, ...] | None = None
    without: tuple[Address, ...] = ()
    refresh: bool = True


NOTHING_ELSE = Asked()


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


def plan(
    inputs: Inputs,
    reader: StateReader,
    asked: Asked = NOTHING_ELSE,
    drifted: Mapping[Address, ResourceDrift] | None = None,
) -> Plan:
    """Plan the files against the record, and against what was seen on hosts where given; no host is contacted."""
    slices = [file.slice for file in inputs.slices]
    recorded = reader.read({*(written.key for written in slices), *asked.destroy}).seen(drifted or {})
    return build_plan(
        inputs.cluster.cluster,
        slices,
        recorded,
        destroy=asked.destroy,
        replace=asked.replace,
        only=asked.only,
        without=asked.without,
        inputs=inputs.digests,
        tool=__version__,
    )


def find_slices(reader: StateReader, names: Iterable[str], *, unfinished: bool = False) -> tuple[SliceKey, ...]:
    """Find recorded slices by `owner/name`, or by name alone where that is clear; raises UsageError otherwise.

    With `unfinished`, also those whose last apply did not come to its end: they may have left the record while what
    they shared with others was still to go.
    """
    known = {*reader.read(()).allocations, *(_unfinished(reader) if unfinished else ())}
    return tuple(_find_slice(name, sorted(known, key=natural)) for name in names)


def _unfinished(reader: StateReader) -> Iterator[SliceKey]:
    settled: set[SliceKey] = set()
    for applied in reader.history():
        if applied.result != DONE:
            yield from set(applied.slices) - settled
        settled.update(applied.slices)


def _find_slice(name: str, known: Sequence[SliceKey]) -> SliceKey:
    found = [key for key in known if name in {key, key.partition("/")[2]}]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{name} could be {' or '.join(found)}", hint="name the slice as owner/name")
    hint = f"recorded slices: {', '.join(known)}" if known else "no slice is recorded; look at --state and --cluster"
    raise UsageError(f"no slice {name!r} is recorded", hint=hint)


def undescribed(inputs: Inputs, reader: StateReader, *, allow_many: bool = False) -> tuple[SliceKey, ...]:
    """Return the recorded slices that no file describes; raises PlanError where these are so many that it is no edit.

    A folder of which half is missing looks just like one from which half was deleted.
    """
    recorded = reader.read(()).allocations
    doomed = tuple(sorted(recorded.keys() - {file.slice.key for file in inputs.slices}, key=natural))
    if len(doomed) > FEW and 3 * len(doomed) > len(recorded) and not allow_many:
        raise PlanError(
            f"a prune would destroy {len(doomed)} of {len(recorded)} recorded slices: {', '.join(doomed)}",
            hint="look whether the folder is whole; if they are all to go, add --allow-destroy",
        )
    return doomed


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
    from reconciler.state.locks.leases import LockWait, hold  # noqa: PLC0415 - planning waits for nothing

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
    from reconciler.apply.drivers.registry import DRIVERS  # noqa: PLC0415 - planning needs no drivers
    from reconciler.apply.execution.executor import execute  # noqa: PLC0415
    from reconciler.apply.transport.fence import Fence  # noqa: PLC0415

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
    return {images[name].sha256: path for name, path in _image_files(inputs).items()}


def _seeds(inputs: Inputs, steps: Sequence[Step]) -> dict[Address, Callable[[], bytes]]:
    """Return how the content of each seed that is to be made is made, where the files have its user-data."""
    from reconciler.apply.seed_image import seed_image  # noqa: PLC0415 - planning makes no seed

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


def _image_files(inputs: Inputs) -> dict[str, Path]:
    """Return the local file of each image by its name; relative paths start at the cluster file."""
    folder = Path(inputs.cluster.path).parent
    return {name: folder / Path(image.file).expanduser() for name, image in inputs.cluster.cluster.images.items()}


def present_resources(reader: StateReader, scope: Collection[SliceKey] | None = None) -> list[Resource]:
    """Return the resources that are recorded as standing: those of some slices or of all, and what slices share."""
    return _present(reader.read(scope), scope)


def _present(recorded: StateSnapshot, scope: Collection[SliceKey] | None) -> list[Resource]:
    return [
        entry.resource
        for entry in recorded.resources.values()
        if entry.status is Status.PRESENT and (scope is None or entry.resource.slice in {None, *scope})
    ]


async def look(
    inputs: Inputs,
    reader: StateReader,
    connector: Connector,
    destroy: tuple[SliceKey, ...] = (),
    drivers: Drivers | None = None,
) -> dict[Address, ResourceDrift]:
    """Look at the hosts that the slices of the files are on, and return what is not as recorded; read-only.

    A host that cannot be reached tells nothing: steps there will fail in their own words. What is to be destroyed is
    not looked at, but makes room in the plan.
    """
    from reconciler.apply.observation.drift import DriftKind  # noqa: PLC0415 - planning needs no drivers

    draft = plan(inputs, reader, Asked(destroy=destroy))
    hosts = {vm.worker for given in draft.allocations.values() for vm in given.vms.values()}
    hosts.add(HostName(inputs.cluster.cluster.network_node.name))
    staying = set(draft.slices).difference(destroy)
    resources = [resource for resource in present_resources(reader, staying) if resource.host in hosts]
    return {
        item.address: ResourceDrift(
            item.kind is DriftKind.MISSING, {each.name: each.observed for each in item.attributes}
        )
        for item in await compare(resources, connector, drivers)
        if item.kind is not DriftKind.UNREACHABLE
    }


@dataclass(frozen=True, slots=True)
class ClusterDrift:
    """What hosts carry beside the record: what is not as recorded, what nobody records, and what could not be read."""

    drift: tuple[Drift, ...]
    orphans: tuple[Orphan, ...]
    unread: tuple[Unread, ...]


async def drift(
    inputs: Inputs, reader: StateReader, connector: Connector, scope: Collection[SliceKey] | None = None
) -> ClusterDrift:
    """Compare what the hosts carry with what is recorded, and find what nobody records; read-only, one batch per host.

    With a scope, only hosts that carry those slices are asked, and only what bears their names is told.
    """
    from reconciler.apply.drivers.driver import SurveyTarget  # noqa: PLC0415
    from reconciler.apply.drivers.registry import DRIVERS  # noqa: PLC0415
    from reconciler.apply.observation.drift import find_drift  # noqa: PLC0415 - planning needs no drivers
    from reconciler.apply.observation.observe import observe  # noqa: PLC0415
    from reconciler.apply.observation.orphans import find_orphans, unread  # noqa: PLC0415

    cluster = inputs.cluster.cluster
    before = reader.read(None)
    resources = _present(before, scope)
    hosts = [HostName(host.name) for host in cluster.hosts()]
    if scope is not None:
        hosts = [host for host in hosts if any(host == resource.host for resource in resources)]
    target = [SurveyTarget(host, cluster.bridge.name) for host in hosts]
    observed = await observe(connector, resources, DRIVERS, surveyed=target)
    # What an apply made meanwhile was written down before it was made, and what it removed stood in the record before.
    known = [*_all_recorded(before), *_all_recorded(reader.read(None))]
    orphans = find_orphans(observed, known, before.lineage, DRIVERS)
    return ClusterDrift(
        drift=find_drift(resources, observed),
        orphans=tuple(orphan for orphan in orphans if scope is None or orphan.resource.slice in scope),
        unread=unread(observed),
    )


def _all_recorded(recorded: StateSnapshot) -> Iterator[Resource]:
    for entry in recorded.resources.values():
        yield entry.resource
        if entry.pending is not None:
            yield entry.pending


async def compare(
    resources: Sequence[Resource], connector: Connector, drivers: Drivers | None = None
) -> Sequence[Drift]:
    """Compare what the hosts carry with these resources; read-only, one batch per host."""
    from reconciler.apply.drivers.registry import DRIVERS  # noqa: PLC0415
    from reconciler.apply.observation.drift import find_drift  # noqa: PLC0415 - planning needs no drivers
    from reconciler.apply.observation.observe import observe  # noqa: PLC0415

    return find_drift(resources, await observe(connector, resources, drivers or DRIVERS))


async def doctor(inputs: Inputs, connector: Connector, wall: Callable[[], float] = time.time) -> Sequence[Examination]:
    """Examine every host, and the local files of the images; reads only, one batch per host."""
    import asyncio  # noqa: PLC0415 - planning needs no event loop

    from reconciler.apply.observation.doctor import examine, examine_here  # noqa: PLC0415

    cluster = inputs.cluster.cluster
    hosts = await examine(cluster, connector, wall)
    here = await asyncio.to_thread(examine_here, cluster.images, _image_files(inputs), hosts)
    return (*hosts, here) if here.findings else hosts
