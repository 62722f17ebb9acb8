"""Plans files against the state, and finds the slices that a command names or prunes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler import __version__
from reconciler.errors import PlanError, UsageError
from reconciler.plan.build import build_plan
from reconciler.plan.graph import natural
from reconciler.plan.model import Plan
from reconciler.plan.snapshot import ResourceDrift
from reconciler.spec.models.names import Address, SliceKey
from reconciler.state.store import StateReader
from reconciler.workflow.load import Inputs

FEW = 3
"""So many slices may go by a prune whatever else is recorded; of more, a third at most."""


DONE = "done"
"""The result, in history, of an apply that did all that it was to do."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for beside the files: slices to take away, and resources to make anew as they are.

    `only` and `without` bound what is to stand for now, as `build_plan` says. Without `refresh`, an apply trusts the
    record and does not look at the hosts first.
    """

    destroy: tuple[SliceKey, ...] = ()
    replace: tuple[Address, ...] = ()
    only: tuple[Address, ...] | None = None
    without: tuple[Address, ...] = ()
    refresh: bool = True


NOTHING_ELSE = Asked()


def plan(
    inputs: Inputs,
    reader: StateReader,
    asked: Asked = NOTHING_ELSE,
    drifted: Mapping[Address, ResourceDrift] | None = None,
) -> Plan:
    """Plan the files against the record, and against what was seen on hosts where given; no host is contacted."""
    slices = [file.slice for file in inputs.slices]
    recorded = reader.read({*(written.key for written in slices), *asked.destroy}).seen(drifted or {})
    return build_plan(
        inputs.cluster.cluster,
        slices,
        recorded,
        destroy=asked.destroy,
        replace=asked.replace,
        only=asked.only,
        without=asked.without,
        inputs=inputs.digests,
        tool=__version__,
    )


def find_slices(reader: StateReader, names: Iterable[str], *, unfinished: bool = False) -> tuple[SliceKey, ...]:
    """Find recorded slices by `owner/name`, or by name alone where that is clear; raises UsageError otherwise.

    With `unfinished`, also those whose last apply did not come to its end: they may have left the record while what
    they shared with others was still to go.
    """
    known = {*reader.read(()).allocations, *(_unfinished(reader) if unfinished else ())}
    return tuple(_find_slice(name, sorted(known, key=natural)) for name in names)


def _unfinished(reader: StateReader) -> Iterator[SliceKey]:
    settled: set[SliceKey] = set()
    for applied in reader.history():
        if applied.result != DONE:
            yield from set(applied.slices) - settled
        settled.update(applied.slices)


def _find_slice(name: str, known: Sequence[SliceKey]) -> SliceKey:
    found = [key for key in known if name in {key, key.partition("/")[2]}]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{name} could be {' or '.join(found)}", hint="name the slice as owner/name")
    hint = f"recorded slices: {', '.join(known)}" if known else "no slice is recorded; look at --state and --cluster"
    raise UsageError(f"no slice {name!r} is recorded", hint=hint)


def undescribed(inputs: Inputs, reader: StateReader, *, allow_many: bool = False) -> tuple[SliceKey, ...]:
    """Return the recorded slices that no file describes; raises PlanError where these are so many that it is no edit.

    A folder of which half is missing looks just like one from which half was deleted.
    """
    recorded = reader.read(()).allocations
    doomed = tuple(sorted(recorded.keys() - {file.slice.key for file in inputs.slices}, key=natural))
    if len(doomed) > FEW and 3 * len(doomed) > len(recorded) and not allow_many:
        raise PlanError(
            f"a prune would destroy {len(doomed)} of {len(recorded)} recorded slices: {', '.join(doomed)}",
            hint="look whether the folder is whole; if they are all to go, add --allow-destroy",
        )
    return doomed
