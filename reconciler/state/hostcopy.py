"""Encodes copies of parts of a state as one line of text each, as hosts keep them, and decodes them.

Each host has a copy of each slice that has something there, and of what slices share. From these copies a state that
was lost is rebuilt. They contain no secret: the state has none.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from reconciler.plan.resources import Resource, from_data, to_data
from reconciler.plan.snapshot import SHARED, Counters, SliceAllocation, allocation_data, allocation_from_data
from reconciler.spec.models.names import SliceKey

FORMAT: Final = 1
"""The version of a copy's format; a reader refuses newer ones."""

_LARGEST: Final = 2**28
"""The largest copy that is decoded, in bytes; what a host prints may be anything."""


@dataclass(frozen=True, slots=True)
class StateCopy:
    """What a state had of one slice, or of what slices share, when an apply began or had ended.

    `slice` is None for what slices share. `resources` are those after the apply, `former` those that it was to delete
    or to change, as they were. A copy is `settled` once the apply has deleted them. `saved` is ISO 8601, UTC.
    """

    lineage: str
    apply: int
    saved: str
    slice: SliceKey | None
    counters: Counters
    serial: int
    allocation: SliceAllocation | None
    resources: tuple[Resource, ...]
    former: tuple[Resource, ...] = ()
    settled: bool = False

    @property
    def name(self) -> str:
        """The name of its file."""
        return copy_name(self.slice)


def copy_name(key: SliceKey | None) -> str:
    """Return the name of the file of a slice's copy: `owner@name`."""
    return SHARED if key is None else key.replace("/", "@")


def encode_copy(copy: StateCopy) -> str:
    """Write a copy as one line of printable text."""
    data = {
        "format": FORMAT,
        **{name: getattr(copy, name) for name in ("lineage", "apply", "saved", "slice", "serial", "settled")},
        "counters": asdict(copy.counters),
        "allocation": None if copy.allocation is None else allocation_data(copy.allocation),
        "resources": [to_data(each) for each in copy.resources],
        "former": [to_data(each) for each in copy.former],
    }
    text = json.dumps(data, separators=(",", ":"), sort_keys=True)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def decode_copy(text: str) -> StateCopy:
    """Read what `encode_copy` wrote; raises ValueError for anything else."""
    try:
        unpacking = zlib.decompressobj()
        data = json.loads(unpacking.decompress(base64.b64decode(text, validate=True), _LARGEST))
        if data.pop("format") == FORMAT:
            return _copy(data)
    except (ValueError, zlib.error, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a copy of a state") from error
    raise ValueError("a copy of a state by another version")


def _copy(data: Mapping[str, Any]) -> StateCopy:
    return StateCopy(
        **{
            **data,
            "counters": Counters(**data["counters"]),
            "allocation": None if data["allocation"] is None else allocation_from_data(data["allocation"]),
            "resources": tuple(from_data(each) for each in data["resources"]),
            "former": tuple(from_data(each) for each in data["former"]),
        }
    )
