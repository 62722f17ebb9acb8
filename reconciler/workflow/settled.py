"""Remembers which slices needed no change, so that a plan of many compares only the others.

A slice is settled if a plan found nothing to change in it, and neither its files, the cluster file, the planner nor
its part of the state have changed since. The memory is a cache: without it a plan is the same, only slower.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from reconciler import __version__, plan, spec
from reconciler.errors import FileWriteError
from reconciler.files import write_file
from reconciler.plan.resources import KINDS
from reconciler.spec.load import SliceFile
from reconciler.spec.models.names import SliceKey
from reconciler.state.store import ApplyId, StateMarks, StateReader
from reconciler.workflow.caches import FEW, MAX_BYTES, cache_place
from reconciler.workflow.load import Inputs

Pins = Mapping[SliceKey, tuple[int, str]]
"""For each slice, the serial at which it last changed, and the digest of all else that it is planned from."""

NO_APPLY: Final = ApplyId(0)
"""Applies count from 1."""


class SettledSlices:
    """The settled slices of one cluster file, kept at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, inputs: Inputs, reader: StateReader) -> Settled | None:
        """Return which of these slices are settled; None if they are so few that comparing them is faster."""
        if len(inputs.slices) <= FEW:
            return None
        stored = _read(self._path)
        marks = reader.marks([file.slice.key for file in inputs.slices], stored.apply)
        planner = "\n".join([inputs.cluster.digest, *_planner()])
        pins = {
            file.slice.key: (marks.moved[file.slice.key], _digest(planner, file))
            for file in inputs.slices
            if file.slice.key in marks.moved
        }
        return Settled(self._path, marks, pins, stored.pins if stored.precedes(marks) else {})


class Settled:
    """Which slices of one plan are settled, in the state of this `serial`."""

    def __init__(self, path: Path, marks: StateMarks, pins: Pins, stored: Pins) -> None:
        self._path = path
        self._marks = marks
        self._pins = pins
        self._stored = stored
        self.serial = marks.serial
        self.slices = frozenset(key for key, pin in pins.items() if stored.get(key) == pin)

    def save(self, changed: Collection[SliceKey]) -> None:
        """Remember the slices of the plan except those that it changes; failures are ignored."""
        settled = {key: pin for key, pin in self._pins.items() if key not in changed}
        if settled == self._stored or self._marks.latest is None:
            return
        apply, started = self._marks.latest
        made_from = {"lineage": self._marks.lineage, "serial": self.serial, "apply": apply, "started": str(started)}
        body = json.dumps({**made_from, "pins": settled}, separators=(",", ":"))
        with suppress(OSError, FileWriteError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_file(self._path, body)


@dataclass(frozen=True, slots=True)
class _Stored:
    """Pins as stored, and the state that they were made from: its lineage, serial, latest apply, and its start."""

    lineage: str = ""
    serial: int = 0
    apply: ApplyId = NO_APPLY
    started: str = ""
    pins: Pins = field(default_factory=dict)

    def precedes(self, marks: StateMarks) -> bool:
        """Whether a state came after the one that the pins were made from.

        A state that was restored from a copy may reach the same serials again with other content, by other applies.
        """
        same = self.lineage == marks.lineage and self.started == str(marks.started)
        return same and self.serial <= marks.serial


def settled_slices(cluster: Path) -> SettledSlices:
    """Return what is remembered of the slices of one cluster file."""
    return SettledSlices(cache_place("settled", cluster))


def _digest(planner: str, file: SliceFile) -> str:
    """Return the digest of all that a slice's resources are planned from, besides the state."""
    parts = [planner, file.digest, *(f"{path}\n{digest}" for path, digest in sorted(file.attached.items()))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _planner() -> Iterator[str]:
    """Yield what identifies the code that plans: the version, and its files, which change between two versions."""
    yield f"{__version__} {sorted(KINDS)}"
    for package in (plan, spec):
        for folder, _, names in sorted(os.walk(Path(package.__file__ or "").parent)):
            for name in sorted(names):
                if name.endswith(".py"):
                    about = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118 - 100 files in each plan
                    yield f"{folder}/{name} {about.st_size} {about.st_mtime_ns}"


def _read(path: Path) -> _Stored:
    """Return what is stored at `path`, nothing if it is missing or damaged."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MAX_BYTES))
        pins = {SliceKey(key): (int(moved), str(digest)) for key, (moved, digest) in found.pop("pins").items()}
        return _Stored(**found, pins=pins)
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return _Stored()
