"""Checks that owners stay within their quotas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from reconciler.errors import Limit, LimitError
from reconciler.plan.snapshot import SliceAllocation
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.fields import format_size
from reconciler.spec.models.names import SliceKey

_SHOWN = ("slices", "vms", "vcpus", "memory", "vlans")


def check_quota(
    cluster: Cluster, before: Mapping[SliceKey, SliceAllocation], after: Mapping[SliceKey, SliceAllocation]
) -> None:
    """Raise LimitError if an owner would have more of something than the quota allows, and more than now.

    A quota that was lowered below what an owner already has prevents growth, and nothing else.
    """
    used, asked = _usage_by_owner(before), _usage_by_owner(after)
    for owner, wanted in sorted(asked.items()):
        user = cluster.users.get(owner)
        if user is None:
            continue
        had = used.get(owner, Counter())
        for what in _SHOWN:
            limit = getattr(user.quota, what)
            if limit is not None and wanted[what] > max(limit, had[what]):
                raise LimitError(
                    Limit.QUOTA,
                    f"quota of {owner} for {what}",
                    maximum=limit,
                    used=had[what],
                    asked=wanted[what] - had[what],
                    show=format_size if what == "memory" else str,
                    hint=f"destroy something, or ask for a higher quota: users.{owner}.quota.{what}",
                )


def _usage_by_owner(allocations: Mapping[SliceKey, SliceAllocation]) -> dict[str, Counter[str]]:
    """Count what each owner has, in one pass over all slices."""
    found: dict[str, Counter[str]] = {}
    for key, had in allocations.items():
        usage = found.setdefault(key.partition("/")[0], Counter())
        usage["slices"] += 1
        usage["vms"] += len(had.vms)
        usage["vcpus"] += sum([vm.vcpus for vm in had.vms.values()])
        usage["memory"] += sum([vm.memory for vm in had.vms.values()])
        usage["vlans"] += sum([block.last - block.first + 1 for block in had.pool])
    return found
