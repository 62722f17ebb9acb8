"""Tells which slices of the state the files may mean by a former name, and refuses what cannot be told apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from reconciler.errors import Code, Problem, SpecError
from reconciler.plan.renames import ambiguous
from reconciler.plan.snapshot import SliceAllocation
from reconciler.spec.check.renames import RENAMED_FROM, rename_path
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.names import SliceKey
from reconciler.spec.renames import former_keys
from reconciler.workflow.load import Inputs


def names_of(inputs: Inputs, slices: Iterable[ExpandedSlice]) -> set[SliceKey]:
    """Return the names that the state may have these slices under: their own, and those from before a rename."""
    cluster = inputs.cluster.cluster
    return {name for whole in slices for name in (whole.key, *former_keys(cluster, whole))}


def every_name(inputs: Inputs) -> set[SliceKey]:
    """Return the names that the state may have the slices of all files under."""
    return names_of(inputs, (file.slice for file in inputs.slices))


def refuse_ambiguous(inputs: Inputs, allocations: Mapping[SliceKey, SliceAllocation]) -> None:
    """Raise SpecError where the state has a slice or a VM under both its names: nothing tells which one is meant."""
    if problems := list(_problems(inputs, allocations)):
        raise SpecError(problems)


def _problems(inputs: Inputs, allocations: Mapping[SliceKey, SliceAllocation]) -> Iterator[Problem]:
    for file in inputs.slices:
        for vm, summary in ambiguous(inputs.cluster.cluster, file.slice, allocations):
            path = rename_path(file) if vm is None else ("vms", vm, RENAMED_FROM)
            hint = "remove `renamed_from`, or destroy one of the two"
            yield file.source.problem(Code.RENAME, summary, path, hint)
