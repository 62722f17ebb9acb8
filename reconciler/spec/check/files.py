"""Checks the cluster file and all slice files together, and reports every problem.

The rules across slice files are here: unique names, names that are too similar, quotas. The rules within one file are
in one_slice.py and one_cluster.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from reconciler.errors import Code, Problem
from reconciler.spec.check.one_cluster import check_cluster
from reconciler.spec.check.one_slice import check_slice
from reconciler.spec.expand import ExpandedSlice, with_flavor
from reconciler.spec.load import ClusterFile, SliceFile
from reconciler.spec.models.cluster import Cluster, Quota
from reconciler.spec.models.fields import format_size
from reconciler.spec.models.names import skeleton


def check(cluster: ClusterFile, slices: Sequence[SliceFile]) -> tuple[Problem, ...]:
    """Return every problem of files whose single fields are valid, sorted by position.

    Quotas are checked for these files only; the plan checks them with the slices in the state too.
    """
    found = list(check_cluster(cluster))
    ordered = sorted(slices, key=lambda each: each.path)
    for each in ordered:
        found += check_slice(each, cluster.cluster)
    single = list(_each_name_once(ordered, found))
    found += _confusable(single)
    found += _over_quota(single, cluster.cluster)
    return tuple(sorted(found, key=_by_position))


def _by_position(problem: Problem) -> tuple[str, int, int, str]:
    where = problem.location
    return ("", 0, 0, problem.summary) if where is None else (where.file, where.line, where.column, problem.summary)


def _each_name_once(slices: Iterable[SliceFile], found: list[Problem]) -> Iterator[SliceFile]:
    """Yield the first file of each slice, and append a problem for each other file."""
    first: dict[str, SliceFile] = {}
    for each in slices:
        other = first.setdefault(each.slice.key, each)
        if other is each:
            yield each
            continue
        summary = f"slice {each.slice.key} is already defined in {other.source.locate(('name',))}"
        hint = "rename one of the two, or delete its file"
        found.append(each.source.problem(Code.DUPLICATE_NAME, summary, ("name",), hint))


def _confusable(slices: Iterable[SliceFile]) -> Iterator[Problem]:
    first: dict[tuple[str, str], SliceFile] = {}
    for each in slices:
        other = first.setdefault((each.slice.owner, skeleton(each.slice.name)), each)
        if other is not each:
            where = other.source.locate(("name",))
            summary = f"slice name {each.slice.name} is too similar to {other.slice.name} in {where}"
            yield each.source.problem(Code.CONFUSABLE_NAME, summary, ("name",), "choose names that differ clearly")


class _Use(NamedTuple):
    """What a slice uses of its owner's quota; memory in bytes."""

    slices: int
    vms: int
    vcpus: int
    memory: int
    vlans: int


_NOUNS = {"slices": "slices", "vms": "VMs", "vcpus": "virtual CPUs", "memory": "memory", "vlans": "VLANs"}


def _over_quota(slices: Iterable[SliceFile], cluster: Cluster) -> Iterator[Problem]:
    owned: dict[str, list[SliceFile]] = defaultdict(list)
    for each in slices:
        owned[each.slice.owner].append(each)
    for owner, files in owned.items():
        user = cluster.users.get(owner)
        if user is not None and user.quota != Quota():
            yield from _over_one_quota(files, user.quota, cluster)


def _over_one_quota(files: Sequence[SliceFile], quota: Quota, cluster: Cluster) -> Iterator[Problem]:
    """Yield a problem for each limit, at the first file that exceeds it."""
    uses = [_use(each.slice, cluster) for each in files]
    for what, noun in _NOUNS.items():
        limit: int | None = getattr(quota, what)
        used = 0
        for each, use in zip(files, uses, strict=True):
            asked: int = getattr(use, what)
            if limit is not None and used + asked > limit:
                yield _limit(each, noun, (limit, used, asked), format_size if what == "memory" else str)
                break
            used += asked


def _limit(file: SliceFile, noun: str, numbers: tuple[int, int, int], write: Callable[[int], str]) -> Problem:
    limit, used, asked = numbers
    summary = (
        f"{noun} of {file.slice.owner}: limit {write(limit)}, used {write(used)}, asked {write(asked)}, "
        f"free {write(limit - used)}"
    )
    hint = f"make the slices of {file.slice.owner} smaller, or raise the quota in the cluster file"
    return file.source.problem(Code.LIMIT, summary, ("owner",), hint)


def _use(whole: ExpandedSlice, cluster: Cluster) -> _Use:
    vcpus = memory = 0
    for vm in whole.vms.values():
        sized = with_flavor(vm, cluster.flavors)
        vcpus += sized.vcpus or 0
        memory += sized.memory or 0
    return _Use(1, len(whole.vms), vcpus, memory, whole.vlans or cluster.vlans.per_slice)
