"""Prepares to move all VMs away from a worker, so that it can be serviced."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from reconciler.engine import Engine
from reconciler.errors import HostUnreachable, PlanError, UsageError
from reconciler.plan.graph import natural
from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.load import SliceFile
from reconciler.spec.models.names import HostName, SliceKey
from reconciler.spec.quoting import listed, plural
from reconciler.state.store import Verb
from reconciler.workflow.applying import PreparedApply, prepare
from reconciler.workflow.load import Inputs
from reconciler.workflow.planning import Asked, unfinished_slices
from reconciler.workflow.refresh import all_resources
from reconciler.workflow.renames import every_name, names_of

MOVES_AT_ONCE = 4
"""How many VMs are down at the same time, unless said otherwise, because their disks are copied."""

_MOVES = (Verb.EVACUATE, Verb.REPLACE_HOST)

_NAMED = 5
"""How many slices or VMs an error names."""


async def prepare_evacuation(
    engine: Engine,
    inputs: Inputs,
    host: HostName,
    to: HostName | None,
    *,
    moves_at_once: int = MOVES_AT_ONCE,
    verb: Verb = Verb.EVACUATE,
) -> PreparedApply:
    """Cordon a worker, and plan the moves of all VMs that it has, to `to` or to any worker with room.

    The history calls it `verb`. Only slices that have VMs there are planned, and those whose evacuation was cut short.
    Raises PlanError if one of them has no file, or if a file pins a VM to the worker, UsageError if `to` takes no new
    VMs, and HostUnreachable if the worker cannot be reached: then nothing can be copied from it.
    """
    chosen, state = await choose_slices(engine, inputs, host)
    if to is not None and to in state.cordoned:
        raise UsageError(f"{to} {state.cordoned[to]}", hint=f"run `reconciler uncordon {to}`, or choose another worker")
    await engine.worker.run(engine.store.cordon, host, engine.holder.user)
    prepared = await prepare(engine, chosen, Asked(evacuate={host: to}, moves_at_once=moves_at_once, verb=verb))
    if chosen.slices and host in prepared.refreshed.down:
        async with prepared:
            raise HostUnreachable(
                host,
                f"its VMs cannot be copied from it: {prepared.refreshed.down[host]}",
                hint=f"bring it back; or, if it does not come back: reconciler forget {host}",
            )
    return prepared


async def choose_slices(
    engine: Engine, inputs: Inputs, host: HostName, *, every: bool = False
) -> tuple[Inputs, StateSnapshot]:
    """Return the files of all slices that have something on a host or left it half-way, and the whole state.

    With `every`, all slices of the state are meant, as for a network node.
    Raises PlanError if one of the slices has no file, or if a file pins a VM to the host.
    """
    state = await engine.worker.run(engine.store.read, None)
    cut_short = await engine.worker.run(lambda: set(unfinished_slices(engine.store, _MOVES)))
    some = {*slices_on(state, host), *(cut_short & state.allocations.keys())}
    here = sorted(state.allocations if every else some, key=natural)
    _require_files(here, inputs, host)
    _refuse_pinned(here, inputs, host)
    return replace(inputs, slices=tuple(_files(here, inputs))), state


def slices_on(state: StateSnapshot, host: HostName) -> Iterator[SliceKey]:
    """Yield the slices that have VMs on a host, or anything else, such as what an unfinished move has left there."""
    left = {resource.slice for resource in all_resources(state) if resource.host == host}
    for key, allocation in state.allocations.items():
        if key in left or any(vm.worker == host for vm in allocation.vms.values()):
            yield key


def _files(here: Collection[SliceKey], inputs: Inputs) -> Iterator[SliceFile]:
    """Yield the files of these slices of the state, also of those that the files rename."""
    return (file for file in inputs.slices if not names_of(inputs, [file.slice]).isdisjoint(here))


def _require_files(here: Collection[SliceKey], inputs: Inputs, host: HostName) -> None:
    given = every_name(inputs)
    if missing := [key for key in here if key not in given]:
        raise PlanError(
            f"{host} has something of {plural(len(missing), 'slice')} without a file here: {listed(missing, _NAMED)}",
            hint="name their files too, or destroy those slices",
        )


def _refuse_pinned(here: Collection[SliceKey], inputs: Inputs, host: HostName) -> None:
    pinned = [
        f"{file.slice.key}/{name}"
        for file in _files(here, inputs)
        for name, vm in file.slice.vms.items()
        if vm.worker == host
    ]
    if pinned:
        raise PlanError(
            f"{plural(len(pinned), 'VM')} must stay on {host}, as their files say: {listed(pinned, _NAMED)}",
            hint=f"take `worker: {host}` out of these files first",
        )
