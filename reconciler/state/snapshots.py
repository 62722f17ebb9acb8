"""Reads an exported state as a snapshot, for what only plans."""

from __future__ import annotations

from pathlib import Path

from reconciler.errors import StateUnreadable
from reconciler.plan.resources import from_data
from reconciler.plan.snapshot import Cordon, Counters, ResourceState, StateSnapshot, allocation_from_data
from reconciler.spec.models.names import HostName, LinkId, SliceId, SliceKey, VmId
from reconciler.state.export import Export, read_export


def is_export(place: str) -> bool:
    """Whether a place of a state is a file with JSON, as `state export` writes it."""
    try:
        with Path(place).open("rb") as file:
            return file.read(1) == b"{"
    except (OSError, ValueError):
        return False


def read_exported(file: Path) -> StateSnapshot:
    """Read a file of `state export`; raises StateUnreadable if it is not one."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise StateUnreadable(f"{file} cannot be read: {error}", hint="name a file of `state export`") from None
    return snapshot_of(read_export(text, str(file)))


def snapshot_of(export: Export) -> StateSnapshot:
    """Return an exported state as a snapshot with the resources of all slices."""
    counters = export.counters
    resources = [
        ResourceState(from_data(one.resource), one.status, None if one.pending is None else from_data(one.pending))
        for one in export.resources
    ]
    return StateSnapshot(
        lineage=export.lineage,
        serial=export.serial,
        counters=Counters(SliceId(counters.slice_id), VmId(counters.vm_id), LinkId(counters.link_id), counters.turn),
        allocations={
            SliceKey(one.key): allocation_from_data(one.allocation)
            for one in export.slices
            if one.allocation is not None
        },
        held={SliceKey(one.key): frozenset(one.held) for one in export.slices if one.held},
        resources={entry.resource.address: entry for entry in resources},
        cordoned={HostName(one.host): Cordon(one.user, one.since.isoformat()) for one in export.cordons},
    )
