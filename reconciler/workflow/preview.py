"""Finds out what a merge would change: plans its files against the state as it is once the base is applied.

Both revisions are read from Git's objects. No host is contacted, no lock is taken, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from reconciler import __version__
from reconciler.errors import PlanError, Problem, SpecError
from reconciler.plan.allocation.quota import usage_by_owner
from reconciler.plan.build import build_plan
from reconciler.plan.graph import natural
from reconciler.plan.model import ASKED_FOR, Plan
from reconciler.plan.outcome import carried_out
from reconciler.plan.snapshot import SliceAllocation, StateSnapshot
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.load import SliceFile
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import SliceKey
from reconciler.spec.quota import Usage, quotas
from reconciler.trees import Merges, Revision, find_revision, git_tree, merges
from reconciler.workflow.load import Inputs, PartlyLoaded, load_partly
from reconciler.workflow.renames import every_name, refuse_ambiguous

WITHOUT_FILE: Final = "no file after the merge"
"""The reason why a prune would delete what a slice has."""


@dataclass(frozen=True, slots=True)
class OwnerUsage:
    """What an owner with a quota has before and after the merge; `limits` has the maximum of each limited field."""

    owner: str
    before: Usage
    after: Usage
    limits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Together:
    """Which branches can be merged one after the other, in this order, and the others with the reason why not."""

    order: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What merging `head` into `base` would change.

    `plan` is made from the state as it is once `base` is applied; it is None if there is no valid cluster file, or if
    `refused` says why no plan can be made. `pending` is what `base` itself would still change; None if it cannot be
    planned. `before` are the allocations once `base` is applied. `problems` are those of the merged files, and
    `known_problems` those of them that `base` has too; slices in files with problems stay as they are, `held_back`.
    `removed` are slices that no merged file has: an apply with --prune destroys them. `together` is about other
    branches that were named.
    """

    cluster: str
    base: Revision
    head: Revision
    serial: int
    pending: Plan | None
    plan: Plan | None
    before: Mapping[SliceKey, SliceAllocation]
    removed: tuple[SliceKey, ...] = ()
    unchanged: tuple[SliceKey, ...] = ()
    held_back: tuple[SliceKey, ...] = ()
    problems: tuple[Problem, ...] = ()
    known_problems: frozenset[Problem] = frozenset()
    refused: PlanError | None = None
    usage: tuple[OwnerUsage, ...] = ()
    together: Together | None = None

    @property
    def ok(self) -> bool:
        """Whether everything that the merge brings is valid, and can be planned."""
        return self.refused is None and self.plan is not None and not self.new_problems

    @property
    def new_problems(self) -> tuple[Problem, ...]:
        """The problems that the merge brings."""
        return tuple(one for one in self.problems if one not in self.known_problems)

    @property
    def empty(self) -> bool:
        """Whether the merge changes nothing on hosts."""
        return self.plan is not None and self.plan.empty


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files are: the repository, and the cluster file and the slices in it, from its top."""

    repository: Path
    cluster: str
    slices: tuple[str, ...]


class _Parsed:
    """The documents of files that were parsed: one that is the same in both revisions is parsed once."""

    def __init__(self) -> None:
        self._documents: dict[str, Any] = {}

    def get(self, digest: str) -> Any | None:
        """Return the document of a file, or None if it is not known."""
        return self._documents.get(digest)

    def put(self, digest: str, data: Any) -> None:
        """Keep the document of a file."""
        self._documents[digest] = data


def cluster_of(place: Place, base: str) -> Cluster | None:
    """Return the cluster file of a revision, by which its state is found; None if it has no valid one."""
    with git_tree(place.repository, base) as tree:
        loaded = load_partly(place.cluster, (), tree)
    return None if loaded.inputs is None else loaded.inputs.cluster.cluster


def preview_merge(place: Place, base: str, head: str, state: StateSnapshot, also: Sequence[str] = ()) -> Preview:
    """Return what merging `head` into `base` would change; `state` has the resources of all slices.

    With `also`, it says which of these other branches fit together with it, and in which order. Raises UsageError if
    there is no such revision, or if two have no common commit.
    """
    into, branch, *others = (find_revision(place.repository, name) for name in (base, head, *also))
    parsed = _Parsed()
    with merges(place.repository) as git:
        before = _load(place, git, into, parsed)
        try:
            merged = _load(place, git, git.merge(into, branch), parsed)
        except SpecError as conflict:
            merged = PartlyLoaded(None, conflict.found)
        found, applied = _compare((into, branch), before, merged, state)
        if not others:
            return found
        search = _Search(place, git, parsed, into, before, applied)
        return replace(found, together=search.fit([branch, *others]))


def _load(place: Place, git: Merges, revision: Revision, parsed: _Parsed) -> PartlyLoaded:
    with git.tree(revision) as tree:
        return load_partly(place.cluster, place.slices, tree, parsed)


class _Search:
    """Looks for an order in which branches can be merged: each is valid, and within all limits, after those before."""

    def __init__(
        self, place: Place, git: Merges, parsed: _Parsed, into: Revision, before: PartlyLoaded, applied: StateSnapshot
    ) -> None:
        self._place, self._git, self._parsed = place, git, parsed
        self._into, self._before, self._applied = into, before, applied

    def fit(self, branches: Sequence[Revision]) -> Together:
        """Merge what fits, one after the other, until nothing more does."""
        order: list[Revision] = []
        refused = dict.fromkeys(branches, "")
        while (merged := next((one for one in refused if self._merge(one, refused)), None)) is not None:
            order.append(merged)
            del refused[merged]
        return Together(tuple(one.name for one in order), tuple((one.name, why) for one, why in refused.items()))

    def _merge(self, branch: Revision, refused: dict[Revision, str]) -> bool:
        """Merge a branch if it fits now; if not, say in `refused` why."""
        try:
            onto = self._git.merge(self._into, branch)
        except SpecError as conflict:
            refused[branch] = conflict.found[0].summary
            return False
        merged = _load(self._place, self._git, onto, self._parsed)
        found, _ = _compare((self._into, branch), self._before, merged, self._applied, is_applied=True)
        if not found.ok or found.plan is None:
            refused[branch] = _why(found)
            return False
        self._into, self._before = Revision(self._into.name, onto.commit), merged
        self._applied = carried_out(self._applied, found.plan)
        return True


def _why(found: Preview) -> str:
    if found.refused is not None:
        return found.refused.summary
    first = (*found.new_problems, *found.problems)[0]
    return f"{first.location}: {first.summary}" if first.location is not None else first.summary


def _compare(
    revisions: tuple[Revision, Revision],
    before: PartlyLoaded,
    merged: PartlyLoaded,
    state: StateSnapshot,
    *,
    is_applied: bool = False,
) -> tuple[Preview, StateSnapshot]:
    """Return what the merge changes, and the state once the base is applied, which `state` already is if so said."""
    pending, applied = (None, state) if is_applied else _applied(before, state)
    found = Preview(
        cluster=next((one.inputs.cluster.cluster.name for one in (merged, before) if one.inputs is not None), ""),
        base=revisions[0],
        head=revisions[1],
        serial=state.serial,
        pending=pending,
        plan=None,
        before=applied.allocations,
        problems=merged.problems,
        known_problems=frozenset(before.problems).intersection(merged.problems),
    )
    return (found if merged.inputs is None else _planned(found, before, merged.inputs, applied)), applied


def _planned(found: Preview, before: PartlyLoaded, merged: Inputs, applied: StateSnapshot) -> Preview:
    """Add the plan of the merged files, made from the state once the base is applied."""
    had = {} if before.inputs is None else {file.slice.key: file for file in before.inputs.slices}
    held_back = tuple(sorted(_held_back(had, merged, found.problems), key=natural))
    inputs = replace(merged, slices=(*merged.slices, *(had[key] for key in held_back)))
    removed = tuple(sorted((had.keys() & applied.allocations.keys()) - every_name(inputs), key=natural))
    found = replace(found, removed=removed, held_back=held_back)
    try:
        refuse_ambiguous(inputs, applied.allocations)
        planned = _plan(inputs, applied, removed, _same_files(before.inputs, inputs))
    except SpecError as error:
        return replace(found, problems=(*found.problems, *error.found))
    except PlanError as error:
        return replace(found, refused=error)
    changes = (
        replace(change, reason=WITHOUT_FILE) if change.reason == ASKED_FOR else change for change in planned.changes
    )
    planned = replace(planned, changes=tuple(changes))
    changed = {change.subject.slice for change in planned.changes} | {one.slice for one in planned.disturbed}
    return replace(
        found,
        plan=planned,
        unchanged=tuple(key for key in planned.slices if key not in changed and key not in held_back),
        usage=tuple(_usage(inputs.cluster.cluster, applied, planned)),
    )


def _held_back(had: Mapping[SliceKey, SliceFile], merged: Inputs, problems: Collection[Problem]) -> Iterator[SliceKey]:
    """Yield the slices of the base whose files have problems after the merge."""
    wrong = {problem.location.file for problem in problems if problem.location is not None}
    given = every_name(merged)
    yield from (key for key, file in had.items() if file.path in wrong and key not in given)


def _same_files(before: Inputs | None, after: Inputs) -> frozenset[SliceKey]:
    """Return the slices whose files are the same in both, if the cluster file is: once applied, they need nothing."""
    if before is None or before.cluster.digest != after.cluster.digest:
        return frozenset()
    had = {file.slice.key: (file.digest, file.attached) for file in before.slices}
    return frozenset(file.slice.key for file in after.slices if had.get(file.slice.key) == (file.digest, file.attached))


def _applied(before: PartlyLoaded, state: StateSnapshot) -> tuple[Plan | None, StateSnapshot]:
    """Return what the base would still change, and the state once that is done."""
    if before.inputs is None:
        return None, state
    try:
        pending = _plan(before.inputs, state, (), frozenset())
    except PlanError:
        return None, state
    return pending, carried_out(state, pending)


def _plan(inputs: Inputs, state: StateSnapshot, destroy: Sequence[SliceKey], same: frozenset[SliceKey]) -> Plan:
    """Plan without comparing slices that are the `same`; if what slices share changes too, all are compared."""
    slices = [file.slice for file in inputs.slices]
    changed = [one for one in slices if one.key not in same]

    def build(compared: Sequence[ExpandedSlice], settled: Collection[SliceKey]) -> Plan:
        rest = {where: one for where, one in state.resources.items() if one.resource.slice not in settled}
        return build_plan(
            inputs.cluster.cluster,
            compared,
            replace(state, resources=rest),
            destroy=destroy,
            settled=settled,
            inputs=inputs.digests,
            tool=__version__,
        )

    planned = build(changed, same)
    if same and any(change.subject.slice is None for change in planned.changes):
        return build(slices, ())
    return planned


def _usage(cluster: Cluster, before: StateSnapshot, planned: Plan) -> Iterator[OwnerUsage]:
    """Yield the owners with a quota whose use changes."""
    limited = quotas(cluster)
    kept = {key: had for key, had in before.allocations.items() if key not in planned.slices}
    had, has = (
        usage_by_owner(allocations, limited) for allocations in (before.allocations, kept | dict(planned.allocations))
    )
    for owner in sorted(limited, key=natural):
        one, other = had.get(owner, Usage()), has.get(owner, Usage())
        if one != other:
            limits = limited[owner].model_dump(exclude_none=True)
            yield OwnerUsage(owner, one, other, {name: int(limit) for name, limit in limits.items()})
