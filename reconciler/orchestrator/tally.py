"""What each user has by the record; what is to go counts until it is confirmed gone. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.models.names import SliceKey


def slice_ids(recorded: StateSnapshot) -> Mapping[SliceKey, int]:
    """Return the id of every slice."""
    found = {key: int(value) for key, value in _held(recorded, "slice-id")}
    return found | {key: int(had.id) for key, had in recorded.allocations.items()}


def find_slice(recorded: StateSnapshot, slice_id: object) -> SliceKey | None:
    """Return the slice that has an id, or None."""
    return next((key for key, found in slice_ids(recorded).items() if found == slice_id), None)


def owned_slices(recorded: StateSnapshot, user: str) -> list[int]:
    """Return the ids of a user's slices, in order."""
    return sorted(found for key, found in slice_ids(recorded).items() if owner(key) == user)


def used_vms(recorded: StateSnapshot, user: str) -> int:
    """Count a user's VMs."""
    given = {str(vm.id) for key, had in recorded.allocations.items() if owner(key) == user for vm in had.vms.values()}
    return len(given.union(value for key, value in _held(recorded, "vm-id") if owner(key) == user))


def owner(key: SliceKey) -> str:
    """Return whose slice it is."""
    return key.partition("/")[0]


def _held(recorded: StateSnapshot, kind: str) -> Iterator[tuple[SliceKey, str]]:
    for key, claims in recorded.held.items():
        yield from ((key, claim.value) for claim in claims if claim.kind == kind)
