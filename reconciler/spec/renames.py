"""Tells which names a slice may still have in the state, because it or its owner was renamed."""

from __future__ import annotations

from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import SliceKey, slice_key


def former_keys(cluster: Cluster, whole: ExpandedSlice) -> tuple[SliceKey, ...]:
    """Return the identities that a slice had before `renamed_from` of its file and of its owner; without its own."""
    user = cluster.users.get(whole.owner)
    owners = [whole.owner, user.renamed_from if user else None]
    names = [whole.name, whole.renamed_from]
    keys = [slice_key(owner, name) for owner in owners for name in names if owner and name]
    return tuple(key for key in dict.fromkeys(keys) if key != whole.key)
