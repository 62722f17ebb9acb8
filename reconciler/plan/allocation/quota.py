"""Whether owners stay within their quotas, counted over everything they have and are about to have."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from reconciler.errors import Limit, LimitError
from reconciler.plan.snapshot import SliceAllocation
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.fields import format_size
from reconciler.spec.models.names import SliceKey

_SHOWN = ("slices", "vms", "vcpus", "memory", "vlans")


def check_quota(
    cluster: Cluster, before: Mapping[SliceKey, SliceAllocation], after: Mapping[SliceKey, SliceAllocation]
) -> None:
    """Raise LimitError where an owner would have more of something than the quota allows, and more than now.

    A quota that was lowered below what an owner already has stops growth, and nothing else.
    """
    for owner in sorted({key.partition("/")[0] for key in after}):
        user = cluster.users.get(owner)
        if user is None:
            continue
        had, wanted = _usage(owner, before), _usage(owner, after)
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


def _usage(owner: str, allocations: Mapping[SliceKey, SliceAllocation]) -> dict[str, int]:
    owned: Collection[SliceAllocation] = [had for key, had in allocations.items() if key.startswith(f"{owner}/")]
    vms = [vm for had in owned for vm in had.vms.values()]
    return {
        "slices": len(owned),
        "vms": len(vms),
        "vcpus": sum(vm.vcpus for vm in vms),
        "memory": sum(vm.memory for vm in vms),
        "vlans": sum(block.last - block.first + 1 for had in owned for block in had.pool),
    }
