"""Counts what owners use of their quotas, and finds the limits that they would exceed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, Protocol

from reconciler.spec.models.cluster import Cluster, Quota
from reconciler.spec.models.fields import format_size


class Sized(Protocol):
    """A VM with its size, where that is known; memory and disk are in bytes."""

    @property
    def vcpus(self) -> int | None:
        """Return the number of vCPUs."""

    @property
    def memory(self) -> int | None:
        """Return the bytes of memory."""

    @property
    def disk(self) -> int | None:
        """Return the bytes of its disk."""


class Usage(NamedTuple):
    """What slices use; the fields are those of a quota, and memory and disk are in bytes."""

    slices: int = 0
    vms: int = 0
    vcpus: int = 0
    memory: int = 0
    disk: int = 0
    vlans: int = 0


class Excess(NamedTuple):
    """A limit that would be exceeded: its field, its maximum, what is used now, and what is asked in addition."""

    what: str
    maximum: int
    used: int
    asked: int

    def show(self, number: int) -> str:
        """Return a number of this limit as text, with its unit."""
        return format_size(number) if self.what in {"memory", "disk"} else str(number)


def slice_usage(vms: Collection[Sized], vlans: int) -> Usage:
    """Count what one slice uses."""
    return Usage(
        slices=1,
        vms=len(vms),
        vcpus=sum([vm.vcpus or 0 for vm in vms]),
        memory=sum([vm.memory or 0 for vm in vms]),
        disk=sum([vm.disk or 0 for vm in vms]),
        vlans=vlans,
    )


def total(usages: Iterable[Usage]) -> Usage:
    """Add up what several slices use."""
    return Usage(*map(sum, zip(Usage(), *usages, strict=True)))


def quotas(cluster: Cluster) -> dict[str, Quota]:
    """Return the quotas of the owners that have any limit."""
    return {owner: user.quota for owner, user in cluster.users.items() if user.quota != Quota()}


def excesses(quota: Quota, before: Usage, after: Usage) -> Iterator[Excess]:
    """Yield each limit that an owner would exceed, and by which the owner would have more than before.

    A quota that was lowered below what an owner already has prevents growth, and nothing else.
    """
    for what, used, wanted in zip(Usage._fields, before, after, strict=True):
        limit: int | None = getattr(quota, what)
        if limit is not None and wanted > max(limit, used):
            yield Excess(what, limit, used, wanted - used)
