"""Prepares to replace a host: its VMs go to another machine, with their data where the host still has it."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.apply.observation.owners import read_records
from reconciler.apply.transport.connection import Connector
from reconciler.engine import Engine
from reconciler.errors import HostError, HostUnreachable, PlanError, StateMoved, UsageError
from reconciler.plan.renames import find_renames
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import Address, HostName
from reconciler.state.store import Verb
from reconciler.workflow.applying import PreparedApply, prepare
from reconciler.workflow.evacuation import MOVES_AT_ONCE, choose_slices, prepare_evacuation
from reconciler.workflow.load import Inputs
from reconciler.workflow.planning import Asked
from reconciler.workflow.refresh import unreachable


async def prepare_replacement(
    engine: Engine, inputs: Inputs, old: HostName, new: HostName, moves_at_once: int = MOVES_AT_ONCE
) -> PreparedApply:
    """Plan what moves everything from one host to another one of the cluster file, which takes its part.

    A worker that answers is evacuated. What a worker had that does not answer, that has left the cluster file, or that
    was installed again, is created on the new one without its data: the plan says which data that is. A network node
    has no data. Raises UsageError if the hosts have different parts, HostUnreachable if the new one does not answer,
    and what `prepare_evacuation` raises.
    """
    cluster = inputs.cluster.cluster
    state = await engine.worker.run(engine.store.read, None)
    _refuse_other_part(cluster, state, old, new)
    await engine.connector.connect(new)
    if new == cluster.network_node.name:
        return await _without(engine, inputs, old, None)
    if old in {host.name for host in cluster.hosts()} and await _works(engine, state.lineage, old):
        return await prepare_evacuation(engine, inputs, old, new, moves_at_once=moves_at_once, verb=Verb.REPLACE_HOST)
    if new in state.cordoned:
        raise UsageError(f"{new} {state.cordoned[new]}", hint=f"run `reconciler uncordon {new}`")
    return await _without(engine, inputs, old, new)


async def _works(engine: Engine, lineage: str, host: HostName) -> bool:
    if engine.origin is None:  # a state without a place of its own has told no host of itself
        return not await unreachable(engine.connector, [host])
    return await works_for(engine.connector, lineage, host)


async def works_for(connector: Connector, lineage: str, host: HostName) -> bool:
    """Whether a host answers and belongs to the state of this lineage; one that was installed again does not.

    Raises HostError if it answers but cannot be read: then it is not certain what it is.
    """
    try:
        await connector.connect(host)
    except HostUnreachable:
        return False
    found = (await read_records(connector, [host]))[host]
    if isinstance(found, HostError):
        raise found
    return found.owner is not None and found.owner.lineage == lineage


def _refuse_other_part(cluster: Cluster, state: StateSnapshot, old: HostName, new: HostName) -> None:
    """Raise UsageError if one is a worker and the other one the network node, as far as files and state say."""
    node = cluster.network_node.name
    workers = {worker.name for worker in cluster.workers}
    if new not in {node, *workers}:
        raise UsageError(f"the cluster file has no host {new!r}", hint="add the new machine to it first")
    if old == new:
        raise UsageError(
            f"{old} cannot be replaced by itself",
            hint=f"if it was installed again: `reconciler forget {old}`, then `reconciler apply`",
        )
    had_vms = any(vm.worker == old for given in state.allocations.values() for vm in given.vms.values())
    if old == node:
        raise UsageError(f"{old} is the network node: replace it in the cluster file first", hint=_NODE)
    if new == node and (old in workers or had_vms):
        raise UsageError(f"{old} is a worker, and {new} is the network node", hint="name another worker")
    if new != node and old not in workers and not had_vms and old in _hosts(state):
        raise UsageError(f"{old} was the network node, and {new} is a worker", hint=_NODE)


_NODE = "write the new machine under `network_node`, in place of the old one, switch the old one off, and name both"


def _hosts(state: StateSnapshot) -> set[HostName]:
    return {entry.resource.host for entry in state.resources.values()}


async def _without(engine: Engine, inputs: Inputs, old: HostName, new: HostName | None) -> PreparedApply:
    """Plan what a host had that does not come back: VMs go to `new`, what slices have on a network node needs none."""
    chosen, state = await choose_slices(engine, inputs, old, every=new is None)
    if renames := find_renames(inputs.cluster.cluster, [file.slice for file in chosen.slices], state.allocations):
        raise PlanError(
            f"{renames[0].former} was renamed to {renames[0].key} in its file, but not on the hosts",
            hint="take `renamed_from` back until the host is replaced, then rename",
        )
    if old in {host.name for host in inputs.cluster.cluster.hosts()}:
        await engine.worker.run(engine.store.cordon, old, engine.holder.user)
    lost = tuple(where for where, entry in state.resources.items() if entry.resource.host == old)
    leave = {} if new is None else {old: new}
    prepared = await prepare(engine, chosen, Asked(lost=lost, evacuate=leave, verb=Verb.REPLACE_HOST))
    try:
        refuse_moved(await engine.worker.run(engine.store.read, None), lost, old)
    except StateMoved:
        async with prepared:
            raise
    return prepared


def refuse_moved(state: StateSnapshot, lost: Iterable[Address], host: HostName) -> None:
    """Raise StateMoved if something has left a host since it was counted as lost there: it is not lost at all."""
    for where in lost:
        if (entry := state.resources.get(where)) is not None and entry.resource.host != host:
            raise StateMoved(
                f"another apply has moved {where} from {host} to {entry.resource.host} meanwhile",
                hint="nothing was changed; run the command again",
            )
