"""Joins load, read, plan, apply and record; every front end calls this and nothing below it.

Front ends choose the concrete store and connector, show things and ask questions; what happens in which order, under
which lock, is settled here.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.apply.events import Waiting
from reconciler.apply.journal import Outcome
from reconciler.errors import DataLoss, HostError, PlanError, SpecError, StateError, StateLocked, StateMoved, UsageError
from reconciler.plan.build import build_plan
from reconciler.plan.graph import natural
from reconciler.plan.model import Action, Plan, Step
from reconciler.plan.record import Recorded, Sighting, Status
from reconciler.plan.render.json import plan_digest
from reconciler.plan.resources import Resource, Router, Segment, Uplink
from reconciler.spec.check import check
from reconciler.spec.cluster import Bridge
from reconciler.spec.load import ClusterFile, SliceFile, load_cluster, read_slices
from reconciler.spec.names import Address, HostName, SliceKey
from reconciler.state.store import SHARED, ApplyId, Ending, Holder, StateReader, StateStore

if TYPE_CHECKING:
    import asyncio

    from reconciler.apply.connection import Connector
    from reconciler.apply.doctor import Examination
    from reconciler.apply.drift import Drift
    from reconciler.apply.drivers.switch import SwitchPort
    from reconciler.apply.events import Observer, Report
    from reconciler.apply.orphans import Orphan, Unread
    from reconciler.verify.frames import Exit, Probe
    from reconciler.verify.live import LivePort, Switch
    from reconciler.verify.proof import Proof, Violation

ATTEMPTS = 10
"""How often a plan is made again because another apply was recorded between reading and beginning."""

FEW = 3
"""So many slices may go by a prune whatever else is recorded; of more, a third at most."""

PATIENCE = 60.0
"""Seconds to wait while another apply changes what slices share."""

LOOK_AGAIN = 0.2
"""Seconds between two looks at a lock."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files of one run: the cluster's and the slices', checked against each other."""

    cluster: ClusterFile
    slices: tuple[SliceFile, ...] = ()

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file, by its path."""
        return {self.cluster.path: self.cluster.digest} | {file.path: file.digest for file in self.slices}


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of an apply: the plan agreed on, and the executor's report (None: declined, or nothing to do)."""

    plan: Plan
    approved: bool
    report: Report | None = None

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

    Without `refresh`, an apply trusts the record and does not look at the hosts first.
    """

    destroy: tuple[SliceKey, ...] = ()
    replace: tuple[Address, ...] = ()
    refresh: bool = True


NOTHING_ELSE = Asked()


def refuse_loss(agreed: Plan) -> bool:
    """Raise DataLoss, which names the disks that went missing with their data."""
    names = ", ".join(f"{change.address} on {change.subject.host}" for change in agreed.lost)
    raise DataLoss(
        f"the data of {names} is gone: the overlay is missing, and a new one would be empty",
        hint="nothing was changed; put the file back, or add --accept-data-loss to go on with an empty disk",
    )


def plan(
    inputs: Inputs,
    reader: StateReader,
    asked: Asked = NOTHING_ELSE,
    sightings: Mapping[Address, Sighting] | None = None,
) -> Plan:
    """Plan the files against the record, and against what was seen on hosts where given; no host is contacted."""
    slices = [file.slice for file in inputs.slices]
    recorded = reader.read({*(written.key for written in slices), *asked.destroy}).seen(sightings or {})
    return build_plan(
        inputs.cluster.cluster,
        slices,
        recorded,
        destroy=asked.destroy,
        replace=asked.replace,
        inputs=inputs.digests,
        tool=__version__,
    )


def find_slices(reader: StateReader, names: Iterable[str]) -> tuple[SliceKey, ...]:
    """Find recorded slices by `owner/name`, or by name alone where that is clear; raises UsageError otherwise."""
    known = sorted(reader.read(()).allocations, key=natural)
    return tuple(_find_slice(name, known) for name in names)


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
    """How the hosts are reached, and how many at once."""

    connector: Connector
    parallelism: int
    observer: Observer
    stop: asyncio.Event


async def apply(  # noqa: PLR0913 - the edges of the world, each given by name
    inputs: Inputs,
    store: StateStore,
    hosts: Hosts,
    *,
    holder: Holder,
    approve: Callable[[Plan], bool],
    accept_loss: Callable[[Plan], bool] = refuse_loss,
    asked: Asked = NOTHING_ELSE,
) -> Applied:
    """Look at the slices' hosts, plan under the slices' locks, ask for approval, and perform the plan.

    What was changed on the hosts by other hands is part of the plan; what is to be destroyed is not looked at first.
    Where disks went missing with their data, `accept_loss` is asked as well. Raises StateLocked where another apply
    holds a slice, and StateMoved where others have changed the record so that the plan is no longer what was approved.
    """
    with store.lock({*(file.slice.key for file in inputs.slices), *asked.destroy}, holder):
        looks = asked.refresh and inputs.slices
        sightings = await look(inputs, store, hosts.connector, asked.destroy) if looks else {}
        agreed = plan(inputs, store, asked, sightings)
        if not approve(agreed) or (agreed.lost and not accept_loss(agreed)):
            return Applied(agreed, approved=False)
        return await _do(agreed, inputs, store, hosts, holder, lambda: plan(inputs, store, asked, sightings))


async def apply_saved(  # noqa: PLR0913 - as above
    agreed: Plan,
    inputs: Inputs,
    store: StateStore,
    hosts: Hosts,
    *,
    holder: Holder,
    approve: Callable[[Plan], bool],
    accept_loss: Callable[[Plan], bool] = refuse_loss,
) -> Applied:
    """Ask for approval of a saved plan, and perform exactly that one; hosts are not looked at first.

    Raises StateLocked where another apply holds a slice, and StateMoved where the record has changed since: the plan is
    never made again.
    """
    with store.lock(set(agreed.slices), holder):
        store.check_plan(agreed)
        if not approve(agreed) or (agreed.lost and not accept_loss(agreed)):
            return Applied(agreed, approved=False)
        return await _do(agreed, inputs, store, hosts, holder)


async def _do(
    agreed: Plan,
    inputs: Inputs,
    store: StateStore,
    hosts: Hosts,
    holder: Holder,
    again: Callable[[], Plan] | None = None,
) -> Applied:
    if agreed.empty and not _allocations_moved(agreed, store.read(())):
        return Applied(agreed, approved=True)
    async with _begun(store, holder, hosts, agreed, again) as begun:
        current, number = begun
        report = await _execute(current, store, number, inputs, hosts)
    return Applied(current, approved=True, report=report)


def _allocations_moved(agreed: Plan, recorded: Recorded) -> bool:
    """Whether an empty plan still has numbers to write, as for a slice whose pool grew, or one without anything."""
    had = {key: recorded.allocations.get(key) for key in agreed.slices}
    return had != {key: agreed.allocations.get(key) for key in agreed.slices}


@asynccontextmanager
async def _begun(
    store: StateStore, holder: Holder, hosts: Hosts, agreed: Plan, again: Callable[[], Plan] | None
) -> AsyncIterator[tuple[Plan, ApplyId]]:
    """Record the start of an apply, and hold the lock of what slices share where the plan touches that.

    Another apply may begin between our reading and our beginning; the plan is then made again, and must do the same.
    Where it cannot be made again, StateMoved is raised.
    """
    current = agreed
    for _ in range(ATTEMPTS):
        async with _shared_lock(store, holder, hosts, current):
            try:
                number = store.begin(current, holder, plan_digest(current))
            except StateMoved:
                if again is None:
                    raise
                current = again()
                if not _same_work(current, agreed):
                    raise
                continue
            yield current, number
            return
    raise StateMoved(
        "the record keeps changing under this plan", hint="wait for the other applies to end, then try again"
    )


@asynccontextmanager
async def _shared_lock(store: StateStore, holder: Holder, hosts: Hosts, current: Plan) -> AsyncIterator[None]:
    """Hold the shared lock where the plan changes what slices share; elsewhere only wait until nobody does.

    Applies of other slices hold it for seconds, so it is waited for; raises StateLocked where it stays held.
    """
    with ExitStack() as stack:
        await _enter(stack, store, holder, hosts)
        if not any(step.subject.slice is None for step in current.steps):
            stack.close()
        yield


async def _enter(stack: ExitStack, store: StateStore, holder: Holder, hosts: Hosts) -> None:
    import asyncio  # noqa: PLC0415 - planning waits for nothing

    deadline = time.monotonic() + PATIENCE
    told = False
    while True:
        try:
            stack.enter_context(store.lock({SHARED}, holder))
        except StateLocked as error:
            if time.monotonic() > deadline or hosts.stop.is_set():
                raise
            if not told:
                hosts.observer(Waiting(error.summary))
                told = True
            await asyncio.sleep(LOOK_AGAIN)
        else:
            return


def _same_work(one: Plan, other: Plan) -> bool:
    return one.changes == other.changes and one.allocations == other.allocations


async def _execute(current: Plan, store: StateStore, number: ApplyId, inputs: Inputs, hosts: Hosts) -> Report:
    from reconciler.apply.drivers.table import DRIVERS  # noqa: PLC0415 - planning needs no drivers
    from reconciler.apply.executor import execute  # noqa: PLC0415

    try:
        report = await execute(
            current.steps,
            connector=hosts.connector,
            journal=_StoreJournal(store, number),
            drivers=DRIVERS,
            uploads=_uploads(inputs),
            parallelism=hosts.parallelism,
            observer=hosts.observer,
            stop=hosts.stop,
            monotonic=time.monotonic,
        )
    except BaseException:
        with suppress(StateError):  # where the record is what failed, that is told, and not this again
            store.finish(number, "interrupted", 0)
        raise
    store.finish(number, "done" if report.ok else "failed", len(report.skipped))
    return report


def _uploads(inputs: Inputs) -> dict[str, Path]:
    images = inputs.cluster.cluster.images
    return {images[name].sha256: path for name, path in _image_files(inputs).items()}


def _image_files(inputs: Inputs) -> dict[str, Path]:
    """Return the local file of each image by its name; relative paths start at the cluster file."""
    folder = Path(inputs.cluster.path).parent
    return {name: folder / Path(image.file).expanduser() for name, image in inputs.cluster.cluster.images.items()}


class _StoreJournal:
    """The executor's journal, kept in the store."""

    def __init__(self, store: StateStore, number: ApplyId) -> None:
        self._store = store
        self._number = number

    def intend(self, steps: Sequence[Step]) -> None:
        self._store.intend(self._number, steps)

    def record(self, outcomes: Sequence[tuple[Step, Outcome, str]]) -> None:
        endings = [Ending(step, _status(step.action, outcome), outcome, words) for step, outcome, words in outcomes]
        self._store.record(self._number, endings)


_AFTERWARDS = {
    Action.CREATE: (Status.PRESENT, Status.CREATING),
    Action.UPDATE: (Status.PRESENT, Status.UNKNOWN),
    Action.DELETE: (None, Status.DELETING),
}
"""How a resource stands once its step is done, and when it is not."""


def _status(action: Action, outcome: Outcome) -> Status | None:
    done, otherwise = _AFTERWARDS[action]
    return done if outcome is Outcome.DONE else otherwise


def recorded_resources(reader: StateReader, scope: Collection[SliceKey] | None = None) -> list[Resource]:
    """Return the resources that are recorded as standing: those of some slices or of all, and what slices share."""
    return [entry.resource for entry in reader.read(scope).resources.values() if entry.status is Status.PRESENT]


async def look(
    inputs: Inputs, reader: StateReader, connector: Connector, destroy: tuple[SliceKey, ...] = ()
) -> dict[Address, Sighting]:
    """Look at the hosts that the slices of the files are on, and return what is not as recorded; read-only.

    A host that cannot be reached tells nothing: steps there will fail in their own words. What is to be destroyed is
    not looked at, but makes room in the plan.
    """
    from reconciler.apply.drift import DriftKind  # noqa: PLC0415 - planning needs no drivers

    draft = plan(inputs, reader, Asked(destroy=destroy))
    hosts = {vm.worker for given in draft.allocations.values() for vm in given.vms.values()}
    hosts.add(HostName(inputs.cluster.cluster.network_node.name))
    staying = set(draft.slices).difference(destroy)
    resources = [resource for resource in recorded_resources(reader, staying) if resource.host in hosts]
    return {
        item.address: Sighting(item.kind is DriftKind.MISSING, {each.name: each.observed for each in item.attributes})
        for item in await _compare(resources, connector)
        if item.kind is not DriftKind.UNREACHABLE
    }


@dataclass(frozen=True, slots=True)
class Standing:
    """What hosts carry beside the record: what is not as recorded, what nobody records, and what could not be read."""

    drift: tuple[Drift, ...]
    orphans: tuple[Orphan, ...]
    unread: tuple[Unread, ...]


async def drift(
    inputs: Inputs, reader: StateReader, connector: Connector, scope: Collection[SliceKey] | None = None
) -> Standing:
    """Compare what the hosts carry with what is recorded, and find what nobody records; read-only, one batch per host.

    With a scope, only hosts that carry those slices are asked, and only what bears their names is told.
    """
    from reconciler.apply.drift import find_drift  # noqa: PLC0415 - planning needs no drivers
    from reconciler.apply.drivers.driver import Premises  # noqa: PLC0415
    from reconciler.apply.drivers.table import DRIVERS  # noqa: PLC0415
    from reconciler.apply.observe import observe  # noqa: PLC0415
    from reconciler.apply.orphans import find_orphans, unread  # noqa: PLC0415

    cluster = inputs.cluster.cluster
    before = reader.read(None)
    resources = recorded_resources(reader, scope)
    hosts = [HostName(host.name) for host in cluster.hosts()]
    if scope is not None:
        hosts = [host for host in hosts if any(host == resource.host for resource in resources)]
    premises = [Premises(host, cluster.bridge.name) for host in hosts]
    observed = await observe(connector, resources, DRIVERS, surveyed=premises)
    # What an apply made meanwhile was written down before it was made, and what it removed stood in the record before.
    known = [*_all_recorded(before), *_all_recorded(reader.read(None))]
    orphans = find_orphans(observed, known, before.lineage, DRIVERS)
    return Standing(
        drift=find_drift(resources, observed),
        orphans=tuple(orphan for orphan in orphans if scope is None or orphan.resource.slice in scope),
        unread=unread(observed),
    )


def _all_recorded(recorded: Recorded) -> Iterator[Resource]:
    for entry in recorded.resources.values():
        yield entry.resource
        if entry.pending is not None:
            yield entry.pending


async def _compare(resources: Sequence[Resource], connector: Connector) -> Sequence[Drift]:
    from reconciler.apply.drift import find_drift  # noqa: PLC0415 - planning needs no drivers
    from reconciler.apply.drivers.table import DRIVERS  # noqa: PLC0415
    from reconciler.apply.observe import observe  # noqa: PLC0415

    return find_drift(resources, await observe(connector, resources, DRIVERS))


async def doctor(inputs: Inputs, connector: Connector, wall: Callable[[], float] = time.time) -> Sequence[Examination]:
    """Examine every host, and the local files of the images; reads only, one batch per host."""
    import asyncio  # noqa: PLC0415 - planning needs no event loop

    from reconciler.apply.doctor import examine, examine_here  # noqa: PLC0415

    cluster = inputs.cluster.cluster
    hosts = await examine(cluster, connector, wall)
    here = await asyncio.to_thread(examine_here, cluster.images, _image_files(inputs), hosts)
    return (*hosts, here) if here.findings else hosts


async def verify(
    inputs: Inputs, reader: StateReader, connector: Connector, scope: Collection[SliceKey] | None = None
) -> Proof:
    """Prove that the switches carry exactly the declared graph, of some slices or of all; reads only.

    Three batches for each host: its ports, where frames go that its ports send, and where those go that arrive there
    by the trunk; and one for the routers. Raises HostError where a host cannot be read: what is not seen is not proved.
    """
    from reconciler.apply.trace import read_ports  # noqa: PLC0415 - planning needs no hosts
    from reconciler.verify.declared import declare  # noqa: PLC0415
    from reconciler.verify.live import local_probes, onward_probes  # noqa: PLC0415
    from reconciler.verify.proof import concerning, prove  # noqa: PLC0415

    declared = declare(recorded_resources(reader))
    cluster = inputs.cluster.cluster
    read = await read_ports(connector, {HostName(host.name) for host in cluster.hosts()})
    switches = {host: _switch(host, cluster.bridge, ports) for host, ports in read.items()}
    local = await _follow(connector, cluster.bridge.name, local_probes(declared, switches))
    onward = await _follow(connector, cluster.bridge.name, onward_probes(local, switches))
    proof = prove(declared, switches, {**local, **onward})
    routers = await _unsound_routers(recorded_resources(reader, scope), connector)
    proof = replace(proof, violations=(*proof.violations, *routers))
    return proof if scope is None else concerning(proof, declared, scope)


async def _unsound_routers(resources: Iterable[Resource], connector: Connector) -> list[Violation]:
    """Return what is amiss with the rules between segments and towards the uplink, which no switch knows of."""
    from reconciler.apply.drift import DriftKind  # noqa: PLC0415 - planning needs no drivers
    from reconciler.verify.proof import unsound  # noqa: PLC0415

    found = await _compare([one for one in resources if isinstance(one, Router | Segment | Uplink)], connector)
    for item in found:
        if item.kind is DriftKind.UNREACHABLE:
            raise HostError(item.host, f"{item.address} cannot be read: {item.words}")
    return [unsound(item.address, item.host, [each.name for each in item.attributes]) for item in found]


def _switch(host: HostName, bridge: Bridge, ports: Iterable[SwitchPort]) -> Switch:
    from reconciler.verify.live import Switch  # noqa: PLC0415 - planning needs no switches

    found = {port.name: _live_port(host, port) for port in ports if port.bridge == bridge.name and port.ofport >= 0}
    trunk = found.pop(bridge.trunk, None)
    found.pop(bridge.name, None)
    return Switch(bridge.name, trunk, tuple(found[name] for name in sorted(found)))


def _live_port(host: HostName, port: SwitchPort) -> LivePort:
    from reconciler.apply.drivers.ownership import TAG  # noqa: PLC0415 - planning needs no switches
    from reconciler.verify.live import LivePort  # noqa: PLC0415

    return LivePort(host, port.name, port.ofport, port.tag, port.trunks, port.tags.get(TAG, ""))


async def _follow(connector: Connector, bridge: str, probes: Sequence[Probe]) -> dict[Probe, tuple[Exit, ...]]:
    """Ask each switch about its frames; raises HostError where one would do what cannot be followed."""
    from reconciler.apply.trace import trace  # noqa: PLC0415 - planning needs no hosts
    from reconciler.verify.frames import read_exits  # noqa: PLC0415

    by_host: dict[HostName, list[Probe]] = {}
    for probe in probes:
        by_host.setdefault(probe.host, []).append(probe)
    traces = await trace(connector, bridge, {host: [one.flow for one in asked] for host, asked in by_host.items()})
    found = {}
    for host, asked in by_host.items():
        for probe, answer in zip(asked, traces[host], strict=True):
            try:
                found[probe] = read_exits(answer, probe.frame.vlan)
            except ValueError as error:
                raise HostError(host, f"a frame at {probe.port} cannot be followed: {error}") from error
    return found
