"""Say whose a thing on a host is: the address of its resource is its tag, and anything tagged otherwise is foreign."""

from __future__ import annotations

from reconciler.errors import ForeignObject
from reconciler.plan.resources import Resource

TAG = "reconciler"
"""The key of `external_ids` that holds the address; the longer keys start with it."""


def refuse(resource: Resource, thing: str, owner: str) -> ForeignObject:
    """Return the error that names a thing in the way; `owner` is the tag found on it, empty where it has none."""
    whose = f"belongs to {owner}" if owner else "is not ours"
    return ForeignObject(
        resource.host,
        f"{thing} is in the way of {resource.address}: it {whose}",
        hint="it was left alone; remove or rename it by hand, then apply again",
    )


def stop_at(obstacle: ForeignObject | None) -> None:
    """Raise what stands in the way of a resource, if anything does."""
    if obstacle is not None:
        raise obstacle


def tags(resource: Resource) -> dict[str, str]:
    """Return the `external_ids` of a resource's port on the switch: its address, owner and slice, VM and interface."""
    found = {TAG: str(resource.address)}
    if resource.slice is None:
        return found
    found[f"{TAG}-owner"] = resource.slice.partition("/")[0]
    found[f"{TAG}-slice"] = resource.slice
    vm, colon, interface = resource.address.partition(f"/{resource.slice}/")[2].rpartition(":")
    if colon and "--" not in vm + interface:
        found |= {f"{TAG}-vm": vm, f"{TAG}-interface": interface}
    return found
