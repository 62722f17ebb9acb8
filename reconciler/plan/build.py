"""Builds a plan from the files and the state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from reconciler.errors import PlanError
from reconciler.plan.allocation.allocator import NO_HOSTS, allocate
from reconciler.plan.allocation.quota import check_quota
from reconciler.plan.desired import shared_by, shared_by_others, shared_resources, slice_resources
from reconciler.plan.diff import diff
from reconciler.plan.disruption import disturbances
from reconciler.plan.graph import Topology, build_topology, natural
from reconciler.plan.model import Action, Change, Counts, Plan
from reconciler.plan.order import order
from reconciler.plan.renames import find_renames, refuse_names_in_use, renamed_state
from reconciler.plan.resources import Resource
from reconciler.plan.snapshot import ResourceState, SliceAllocation, StateSnapshot
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, HostName, SliceKey
from reconciler.spec.quoting import listed


def build_plan(  # noqa: PLR0913 - the whole input of a pure function, each part by name
    cluster: Cluster,
    slices: Sequence[ExpandedSlice],
    state: StateSnapshot,
    *,
    destroy: Collection[SliceKey] = (),
    replace: Collection[Address] = (),
    only: Collection[Address] | None = None,
    without: Collection[Address] = (),
    settled: Collection[SliceKey] = (),
    evacuate: Mapping[HostName, HostName | None] = NO_HOSTS,
    lost: Collection[Address] = (),
    moves_at_once: int | None = None,
    inputs: Mapping[str, str] | None = None,
    tool: str = "",
) -> Plan:
    """Return what must change so that the hosts carry these slices and no longer those to destroy.

    Other slices of the state stay as they are, and so does what only they share. `state.resources` must contain the
    resources of the slices given and destroyed, and those that slices share. `replace` are resources to replace
    although they do not differ. With `only`, no new resources are created except these and what they depend on;
    existing ones are updated all the same. Resources in `without` are deleted, or not created. Numbers are allocated
    for all. VMs that no file pins leave the workers in `evacuate`, which must be cordoned, for the worker given there
    or another one with room, `moves_at_once` at a time. `lost` are resources whose host does not come back: the plan
    does without them. `settled` are further slices to carry, whose own resources are known to match and are not
    compared. Raises LimitError; or PlanError if the state names a host that the cluster file does not have, if a
    resource to replace is not in the state, or if slices out of scope rely on something shared that is replaced.
    """
    renames = find_renames(cluster, slices, state.allocations)
    state = renamed_state(state.without(lost), renames)
    refuse_names_in_use(slices, state)
    scope = {written.key for written in slices}.union(destroy, settled)
    _check_hosts(cluster, state, scope)
    topologies = [build_topology(cluster, written, state.allocations.get(written.key)) for written in slices]
    allocations, counters = allocate(cluster, topologies, state, destroy, replace, evacuate)
    check_quota(cluster, state.allocations, allocations)
    desired = _desired(cluster, topologies, allocations, scope, state)
    others = shared_by_others(cluster, state, scope) - desired.keys()
    known = _known(cluster, state, scope, others, desired)
    desired = _limited(desired, known, only, without)
    _check_replaced(replace, desired.keys() & known.keys())
    changes = diff(desired, known, destroyed=destroy, replaced=replace, lost=lost)
    _check_shared(cluster, state, scope, changes)
    disturbed, interrupted = disturbances(changes, state.allocations, state.resources.keys())
    return Plan(
        tool=tool,
        lineage=state.lineage,
        serial=state.serial,
        slices=tuple(sorted(scope, key=natural)),
        changes=tuple(changes),
        steps=order(changes, moves_at_once),
        counts=_count(changes, interrupted),
        counters=counters,
        allocations={key: allocations[key] for key in sorted(scope, key=natural) if key in allocations},
        disturbed=disturbed,
        renames=renames,
        inputs=dict(sorted((inputs or {}).items())),
        restart_pending=tuple(_restart_pending(changes, desired, known)),
    )


def _desired(
    cluster: Cluster,
    topologies: Iterable[Topology],
    allocations: Mapping[SliceKey, SliceAllocation],
    scope: Collection[SliceKey],
    state: StateSnapshot,
) -> dict[Address, Resource]:
    """Return the resources of the slices, and what the slices in scope share."""
    desired: dict[Address, Resource] = {}
    for topology in sorted(topologies, key=lambda item: natural(item.key)):
        for resource in slice_resources(cluster, topology, allocations[topology.key]):
            desired[resource.address] = resource
    carried = {key: had for key, had in allocations.items() if key in scope}
    for resource in shared_resources(cluster, carried, state.resources):
        desired[resource.address] = resource
    return desired


def _restart_pending(
    changes: Iterable[Change], desired: Iterable[Address], known: Mapping[Address, ResourceState]
) -> Iterator[Address]:
    """Yield what runs as an earlier version started it, and still does so after these changes."""
    after = {change.address: change.after for change in changes}
    for where in desired:
        entry = known.get(where)
        resource = after.get(where, entry.resource if entry is not None else None)
        if resource is not None and resource.restart_pending:
            yield where


def _limited(
    desired: dict[Address, Resource],
    known: Collection[Address],
    only: Collection[Address] | None,
    without: Collection[Address],
) -> dict[Address, Resource]:
    """Return the desired resources within the limits of `only` and `without`."""
    if only is None and not without:
        return desired
    wanted = desired.keys() if only is None else _with_needs(desired, only)
    return {
        where: resource
        for where, resource in desired.items()
        if where not in without and (where in wanted or where in known)
    }


def _with_needs(desired: Mapping[Address, Resource], only: Iterable[Address]) -> set[Address]:
    """Return these resources and everything that they depend on or follow."""
    found: set[Address] = set()
    waiting = [where for where in only if where in desired]
    while waiting:
        where = waiting.pop()
        if where not in found:
            found.add(where)
            resource = desired[where]
            waiting += [need for need in (*resource.needs, *resource.after) if need in desired]
    return found


def _known(
    cluster: Cluster,
    state: StateSnapshot,
    scope: Collection[SliceKey],
    others: Collection[Address],
    desired: Collection[Address],
) -> dict[Address, ResourceState]:
    """Return the resources that the plan may change: those of its slices, and shared ones that no other slice needs.

    What slices share on a host that the cluster file does not have stays as it is: nothing can be changed there. So
    does what no slice needs any more on a host that is down. What a move left on a host that is gone is gone with it.
    """
    hosts = {host.name for host in cluster.hosts()}
    up = hosts.difference(state.down)
    return {
        where: entry.within(hosts)
        for where, entry in state.resources.items()
        if (
            entry.resource.slice in scope
            if entry.resource.slice is not None
            else where not in others and entry.resource.host in (hosts if where in desired else up)
        )
    }


def _check_hosts(cluster: Cluster, state: StateSnapshot, scope: Collection[SliceKey]) -> None:
    """Raise PlanError if a slice in scope has something on a host that the cluster file does not have."""
    hosts = {host.name for host in cluster.hosts()}
    for where, entry in state.resources.items():
        if entry.resource.slice in scope and entry.resource.host not in hosts:
            raise PlanError(
                f"the state has {where} on {entry.resource.host}, which is not in the cluster file",
                hint=f"add {entry.resource.host} to it again; "
                f"if the host does not come back: reconciler forget {entry.resource.host}",
            )


def _check_shared(
    cluster: Cluster, state: StateSnapshot, scope: Collection[SliceKey], changes: Iterable[Change]
) -> None:
    """Raise PlanError if something shared becomes another one while slices out of scope still rely on what it was."""
    for change in changes:
        if change.subject.slice is not None or change.action is not Action.REPLACE or not change.attributes:
            continue
        users = [
            key
            for key, had in state.allocations.items()
            if key not in scope and change.address in shared_by(cluster, had.vms.values())
        ]
        if users:
            what = ", ".join(item.name for item in change.attributes)
            raise PlanError(
                f"{change.address} would be replaced ({what} changed) under slices that this plan leaves alone: "
                f"{listed(sorted(users, key=natural), 5)}",
                hint="plan all slices together, so that their VMs follow; destroy slices that have no file any more",
            )


def _check_replaced(replace: Iterable[Address], existing: Collection[Address]) -> None:
    for where in replace:
        if where not in existing:
            near = get_close_matches(where, sorted(existing), n=1)
            hint = f"did you mean `{near[0]}`?" if near else "`reconciler plan --json` shows the addresses of resources"
            raise PlanError(f"{where} cannot be replaced: these slices have no resource of that address", hint=hint)


def _count(changes: Iterable[Change], interrupted: int) -> Counts:
    every = list(changes)
    actions = Counter([change.action for change in every])
    return Counts(
        add=actions[Action.CREATE],
        change=actions[Action.UPDATE],
        replace=actions[Action.REPLACE],
        destroy=actions[Action.DELETE],
        restarts=sum([change.restarts for change in every]) if actions[Action.UPDATE] else 0,
        interrupted=interrupted,
        lost=len({change.name for change in every if change.data_lost}),
        renamed=sum([change.renames for change in every]) if actions[Action.UPDATE] else 0,
    )
