"""Checks that owners stay within their quotas, with all their slices in the state."""

from __future__ import annotations

from collections.abc import Container, Mapping
from types import MappingProxyType

from reconciler.errors import Limit, LimitError
from reconciler.plan.snapshot import SliceAllocation
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import SliceKey
from reconciler.spec.quota import Usage, excesses, quotas, slice_usage, total

NOBODY: Mapping[str, str] = MappingProxyType({})


def check_quota(
    cluster: Cluster, before: Mapping[SliceKey, SliceAllocation], after: Mapping[SliceKey, SliceAllocation]
) -> None:
    """Raise LimitError if an owner would have more of something than the quota allows, and more than now.

    What the state still has under an owner's former name counts too.
    """
    limited = quotas(cluster)
    now = {user.renamed_from: name for name, user in cluster.users.items() if user.renamed_from}
    used, asked = usage_by_owner(before, limited, now), usage_by_owner(after, limited, now)
    for owner, wanted in sorted(asked.items()):
        for excess in excesses(limited[owner], used.get(owner, Usage()), wanted):
            raise LimitError(
                Limit.QUOTA,
                f"quota of {owner} for {excess.what}",
                maximum=excess.maximum,
                used=excess.used,
                asked=excess.asked,
                show=excess.show,
                hint=f"destroy something, or ask for a higher quota: users.{owner}.quota.{excess.what}",
            )


def usage_by_owner(
    allocations: Mapping[SliceKey, SliceAllocation], owners: Container[str], now: Mapping[str, str] = NOBODY
) -> dict[str, Usage]:
    """Count what each of these owners has, in one pass over all slices; `now` has their names by their former ones."""
    found: dict[str, list[Usage]] = {}
    for key, had in allocations.items():
        owner = key.partition("/")[0]
        if (owner := now.get(owner, owner)) in owners:
            vlans = sum([block.last - block.first + 1 for block in had.pool])
            found.setdefault(owner, []).append(slice_usage(had.vms.values(), vlans))
    return {owner: total(usages) for owner, usages in found.items()}
