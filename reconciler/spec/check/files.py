"""Checks the cluster file and all slice files together, and reports every problem.

The rules across slice files are here: unique names, names that are too similar, quotas. The rules within one file are
in one_slice.py and one_cluster.py.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from reconciler.errors import Code, Problem
from reconciler.spec.check.one_cluster import check_cluster
from reconciler.spec.check.one_slice import check_partial, check_slice
from reconciler.spec.check.renames import check_owner_renames, check_slice_renames, check_vm_renames
from reconciler.spec.expand import ExpandedSlice, with_flavor
from reconciler.spec.load import ClusterFile, PartialFile, SliceFile
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import skeleton
from reconciler.spec.quota import Excess, Usage, excesses, quotas, slice_usage, total
from reconciler.spec.quoting import escape
from reconciler.spec.tree import below, folder_of


def check(
    cluster: ClusterFile, slices: Sequence[SliceFile], partial: Sequence[PartialFile] = ()
) -> tuple[Problem, ...]:
    """Return every problem of files whose single fields are valid, and of the valid parts of others, by position.

    Quotas are checked for these files only; the plan checks them with the slices in the state too.
    """
    found = list(check_cluster(cluster))
    ordered = sorted(slices, key=lambda each: each.path)
    found += check_owner_renames(cluster)
    for each in ordered:
        found += check_slice(each, cluster.cluster)
        found += check_vm_renames(each)
    for one in partial:
        found += check_partial(one, cluster.cluster)
    single = list(_each_name_once(ordered, found))
    found += _confusable(single)
    found += check_slice_renames(single, cluster.cluster)
    found += _over_quota(single, cluster.cluster)
    found += _elsewhere(single, cluster)
    found += _elsewhere([one for one in partial if "owner" not in one.valid.lost], cluster)
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


def _elsewhere(slices: Iterable[SliceFile | PartialFile], cluster: ClusterFile) -> Iterator[Problem]:
    """Yield a problem for each file that names an owner whose slices are in other folders."""
    top = folder_of(cluster.place)
    for each in slices:
        user = cluster.cluster.users.get(each.slice.owner)
        if user is None or not user.paths or not each.place:
            continue
        path = below(each.place, top)
        if not any(_pattern(pattern).fullmatch(path) for pattern in user.paths):
            places = " or ".join(map(escape, user.paths))
            summary = f"slices of {each.slice.owner} must be in {places}, below the cluster file's folder"
            hint = "move the file, or correct its owner"
            yield each.source.problem(Code.OWNER, summary, ("owner",), hint)


@lru_cache(maxsize=2**10)
def _pattern(text: str) -> re.Pattern[str]:
    """Read a pattern: `**/` is any folders, `**` anything, `*` and `?` any text and any character of one name."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", text.removeprefix("./"))
    meant = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meant.get(part, re.escape(part)) for part in parts))


_NOUNS = {
    "slices": "slices",
    "vms": "VMs",
    "vcpus": "virtual CPUs",
    "memory": "memory",
    "disk": "disk space",
    "vlans": "VLANs",
}


def _over_quota(slices: Iterable[SliceFile], cluster: Cluster) -> Iterator[Problem]:
    """Yield a problem for each limit, at the first file that exceeds it."""
    limited = quotas(cluster)
    used: dict[str, Usage] = defaultdict(Usage)
    reported: set[tuple[str, str]] = set()
    for each in slices:
        owner = each.slice.owner
        if owner not in limited:
            continue
        wanted = total((used[owner], usage(each.slice, cluster)))
        for excess in excesses(limited[owner], used[owner], wanted):
            if (owner, excess.what) not in reported:
                reported.add((owner, excess.what))
                yield _limit(each, excess)
        used[owner] = wanted


def _limit(file: SliceFile, excess: Excess) -> Problem:
    show, owner = excess.show, file.slice.owner
    summary = (
        f"{_NOUNS[excess.what]} of {owner}: limit {show(excess.maximum)}, used {show(excess.used)}, "
        f"asked {show(excess.asked)}, free {show(excess.maximum - excess.used)}"
    )
    hint = f"make the slices of {owner} smaller, or raise the quota in the cluster file"
    return file.source.problem(Code.LIMIT, summary, ("owner",), hint)


def usage(whole: ExpandedSlice, cluster: Cluster) -> Usage:
    """Count what a slice will use, by its file."""
    sized = [with_flavor(vm, cluster.flavors) for vm in whole.vms.values()]
    return slice_usage(sized, whole.vlans or cluster.vlans.per_slice)
