"""Plans files against the state, and finds the slices that a command names or prunes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reconciler import __version__
from reconciler.errors import PlanError, UsageError
from reconciler.plan.build import build_plan
from reconciler.plan.graph import natural
from reconciler.plan.model import Plan
from reconciler.plan.renames import heirs
from reconciler.plan.snapshot import Seen, StateSnapshot
from reconciler.spec.expand import ExpandedSlice
from reconciler.spec.models.names import Address, HostName, SliceKey
from reconciler.spec.quoting import plural
from reconciler.state.store import StateReader, Verb
from reconciler.workflow.load import Inputs
from reconciler.workflow.renames import every_name, names_of, refuse_ambiguous
from reconciler.workflow.settled import Settled, SettledSlices

FEW = 3
"""How many slices a prune may always destroy; more only up to a third of all."""


_ALL = 2**31 - 1
"""More applies than any history has."""

DONE = "done"
"""The result, in the history, of an apply that completed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for beside the files: slices to destroy, and resources to replace although nothing differs.

    `only` and `without` limit which resources exist for now, see `build_plan`. Without `refresh`, an apply trusts the
    state and does not compare the hosts first. VMs leave the hosts in `evacuate`, `moves_at_once` at a time, see
    `build_plan`. `lost` are resources on a host that does not come back: they leave the state without being deleted.
    `verb` is what the history calls it; an apply without files that destroys is called destroy.
    """

    destroy: tuple[SliceKey, ...] = ()
    replace: tuple[Address, ...] = ()
    only: tuple[Address, ...] | None = None
    without: tuple[Address, ...] = ()
    refresh: bool = True
    evacuate: Mapping[HostName, HostName | None] = field(default_factory=dict)
    lost: tuple[Address, ...] = ()
    verb: Verb = Verb.APPLY
    moves_at_once: int | None = None


NOTHING_ELSE = Asked()


def plan(
    inputs: Inputs,
    reader: StateReader,
    asked: Asked = NOTHING_ELSE,
    seen: Seen | None = None,
) -> Plan:
    """Plan the files against the state, and against what was seen on hosts if given; contacts no host."""
    slices = [file.slice for file in inputs.slices]
    state = _read(reader, slices, {*every_name(inputs), *asked.destroy})
    return _plan(inputs, slices, state if seen is None else state.seen(seen), asked)


def _read(reader: StateReader, slices: Sequence[ExpandedSlice], scope: Collection[SliceKey]) -> StateSnapshot:
    """Return the state for planning these slices: also with the resources of slices that had the name of a new one."""
    state = reader.read(scope)
    more = heirs(slices, state).difference(scope)
    return reader.read({*scope, *more}) if more else state


def plan_unsettled(inputs: Inputs, reader: StateReader, asked: Asked, memory: SettledSlices) -> Plan:
    """Return the plan that `plan` returns, without comparing slices that are settled.

    If what slices share changes too, all slices are compared: the change may disturb VMs of settled ones.
    """
    known = memory.of(inputs, reader) if asked == NOTHING_ELSE else None
    if known is None or not (planned := _plan_rest(inputs, reader, known)):
        planned = plan(inputs, reader, asked)
    if known is not None and planned.serial == known.serial:
        pending = {SliceKey(where.partition("/")[2].rpartition("/")[0]) for where in planned.restart_pending}
        known.save(pending.union(SliceKey(key) for change in planned.changes if (key := change.subject.slice)))
    return planned


def _plan_rest(inputs: Inputs, reader: StateReader, known: Settled) -> Plan | None:
    """Plan with what is settled; None if nothing is, if the state has changed, or if what slices share does."""
    if not known.slices:
        return None
    rest = [file.slice for file in inputs.slices if file.slice.key not in known.slices]
    planned = _plan(inputs, rest, _read(reader, rest, names_of(inputs, rest)), NOTHING_ELSE, known.slices)
    current = planned.serial == known.serial and all(change.subject.slice is not None for change in planned.changes)
    return planned if current else None


def _plan(
    inputs: Inputs,
    slices: Sequence[ExpandedSlice],
    state: StateSnapshot,
    asked: Asked,
    settled: Collection[SliceKey] = (),
) -> Plan:
    refuse_ambiguous(inputs, state.allocations)
    return build_plan(
        inputs.cluster.cluster,
        slices,
        state,
        destroy=asked.destroy,
        replace=asked.replace,
        only=asked.only,
        without=asked.without,
        settled=settled,
        evacuate=asked.evacuate,
        lost=asked.lost,
        moves_at_once=asked.moves_at_once,
        inputs=inputs.digests,
        tool=__version__,
    )


def find_slices(reader: StateReader, names: Iterable[str], *, unfinished: bool = False) -> tuple[SliceKey, ...]:
    """Find slices of the state by `owner/name`, or by name alone if that is unique; raises UsageError otherwise.

    With `unfinished`, slices whose last apply did not complete are found too: they may have left the state before the
    resources that they shared with others were deleted.
    """
    known = {*reader.read(()).allocations, *(unfinished_slices(reader) if unfinished else ())}
    return tuple(_find_slice(name, sorted(known, key=natural)) for name in names)


def unfinished_slices(reader: StateReader, verbs: Collection[Verb] = tuple(Verb)) -> Iterator[SliceKey]:
    """Yield the slices whose last apply, of one of these verbs, did not complete."""
    settled: set[SliceKey] = set()
    for applied in reader.history(_ALL):
        if applied.result != DONE and applied.verb in verbs:
            yield from set(applied.slices) - settled
        settled.update(applied.slices)


def slices_named(name: str, known: Iterable[SliceKey]) -> list[SliceKey]:
    """Return the slices that a name, as owner/name or name, may mean."""
    return [key for key in known if name in {key, key.partition("/")[2]}]


def _find_slice(name: str, known: Sequence[SliceKey]) -> SliceKey:
    found = slices_named(name, known)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{name} could be {' or '.join(found)}", hint="name the slice as owner/name")
    hint = (
        f"slices in the state: {', '.join(known)}" if known else "the state has no slice; check --state and --cluster"
    )
    raise UsageError(f"there is no slice {name!r} in the state", hint=hint)


def asked(  # noqa: PLR0913 - the options of a plan, each by name
    inputs: Inputs,
    reader: StateReader,
    paths: Sequence[Path],
    replace: Sequence[str] | None,
    *,
    prune: bool,
    allow_many: bool,
    refresh: bool = True,
) -> Asked:
    """Return what is asked for beside the files; raises UsageError if a prune is given a single file.

    A single file says nothing about other slices, so a prune needs folders.
    """
    destroy: tuple[SliceKey, ...] = ()
    if prune:
        if files := [str(path) for path in paths if not path.is_dir()]:
            raise UsageError(
                f"--prune needs whole folders, and {files[0]} is a file", hint="name the folder of all slices"
            )
        destroy = undescribed(inputs, reader, allow_many=allow_many)
    return Asked(destroy=destroy, replace=tuple(Address(where) for where in replace or ()), refresh=refresh)


def undescribed(inputs: Inputs, reader: StateReader, *, allow_many: bool = False) -> tuple[SliceKey, ...]:
    """Return the slices of the state that no file describes; raises PlanError if they are too many.

    A folder that is half missing looks like a folder from which half was deleted.
    """
    known = reader.read(()).allocations
    doomed = tuple(sorted(known.keys() - every_name(inputs), key=natural))
    if len(doomed) > FEW and 3 * len(doomed) > len(known) and not allow_many:
        raise PlanError(
            f"a prune would destroy {len(doomed)} of {plural(len(known), 'slice')}: {', '.join(doomed)}",
            hint="check that the folder is complete; to destroy all of them, add --allow-destroy",
        )
    return doomed
