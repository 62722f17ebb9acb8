"""Counts what each user has in the state; what is being deleted counts until its deletion is confirmed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.plan.snapshot import StateSnapshot
from reconciler.spec.models.names import SliceKey


def find_slice(state: StateSnapshot, slice_id: object) -> SliceKey | None:
    """Return the slice with an id, or None."""
    return next((key for key, found in _slice_ids(state).items() if found == slice_id), None)


def owned_slices(state: StateSnapshot, user: str) -> list[int]:
    """Return the ids of a user's slices, in order."""
    return sorted(found for key, found in _slice_ids(state).items() if owner(key) == user)


def used_vms(state: StateSnapshot, user: str) -> int:
    """Return the number of a user's VMs."""
    given = {str(vm.id) for key, had in state.allocations.items() if owner(key) == user for vm in had.vms.values()}
    return len(given.union(value for key, value in _held(state, "vm-id") if owner(key) == user))


def owner(key: SliceKey) -> str:
    """Return the owner of a slice."""
    return key.partition("/")[0]


def _slice_ids(state: StateSnapshot) -> Mapping[SliceKey, int]:
    found = {key: int(value) for key, value in _held(state, "slice-id")}
    return found | {key: int(had.id) for key, had in state.allocations.items()}


def _held(state: StateSnapshot, kind: str) -> Iterator[tuple[SliceKey, str]]:
    for key, claims in state.held.items():
        yield from ((key, claim.value) for claim in claims if claim.kind == kind)
