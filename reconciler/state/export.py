"""Encodes a whole state as one JSON text with a digest, identical from every database, and decodes it."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from reconciler.errors import StateUnreadable
from reconciler.plan.resources import from_data
from reconciler.plan.snapshot import Claim, Status, claims
from reconciler.spec.models.names import SliceKey
from reconciler.state.codec import decode_allocation
from reconciler.state.store import Verb

FORMAT: Final = 4
"""The version of the format; a reader refuses newer ones. Version 1 had no orphans, 2 no cordons, 3 no verbs."""

_SEAL = "digest"
_AGAIN = "export the state again; this file was edited or is incomplete"


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ExportedCounters(_Part):
    """The last or next number of every kind that only grows."""

    slice_id: int
    vm_id: int
    link_id: int
    turn: int
    applies: int
    token: int


class ExportedSlice(_Part):
    """A slice: the serial at which it last changed, its encoded allocation, and its held claims."""

    key: str
    moved: int
    leaving: bool
    allocation: dict[str, Any] | None
    held: tuple[Claim, ...]


class ExportedResource(_Part):
    """A resource in the state; `resource` and `pending` are its plain data."""

    status: Status
    due: bool
    resource: dict[str, Any]
    pending: dict[str, Any] | None


class ExportedStep(_Part):
    """One entry of an apply's journal."""

    step: int
    action: str
    address: str
    host: str
    intended: AwareDatetime
    recorded: AwareDatetime | None
    outcome: str | None
    words: str


class ExportedApply(_Part):
    """One apply, with its journal in the order of intents."""

    id: int
    slices: tuple[str, ...]
    user: str
    host: str
    pid: int
    started: AwareDatetime
    finished: AwareDatetime | None
    result: str
    digest: str
    done: int
    failed: int
    skipped: int
    verb: Verb = Verb.APPLY
    journal: tuple[ExportedStep, ...]


class ExportedOrphan(_Part):
    """An object on a host that is not in the state."""

    host: str
    address: str
    fingerprint: str
    first_seen: AwareDatetime
    seen: int


class ExportedCordon(_Part):
    """A host that takes no new VMs."""

    host: str
    user: str
    since: AwareDatetime


class Export(_Part):
    """A whole state without its locks, which belong to running processes. `history` is in the order of the applies."""

    format: Literal[1, 2, 3, 4] = FORMAT
    cluster: str
    lineage: str
    serial: int
    shared_moved: int
    given_moved: int
    counters: ExportedCounters
    slices: tuple[ExportedSlice, ...]
    resources: tuple[ExportedResource, ...]
    history: tuple[ExportedApply, ...]
    orphans: tuple[ExportedOrphan, ...] = ()
    cordons: tuple[ExportedCordon, ...] = ()


def write_export(export: Export) -> str:
    """Encode a state: the same state gives the same bytes, whichever database it comes from."""
    data = export.model_dump(mode="json")
    return json.dumps(data | {_SEAL: _digest(data)}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_export(text: str, name: str) -> Export:
    """Decode what `write_export` wrote; `name` is the file's, for messages.

    Raises StateUnreadable for a text that is edited, truncated, of a newer format, or not an export.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StateUnreadable(f"{name} is not an exported state: it is not JSON", hint=_AGAIN) from error
    if not isinstance(data, dict) or not {"format", _SEAL, "lineage"} <= data.keys():
        raise StateUnreadable(f"{name} is not an exported state", hint="`reconciler state export` writes one")
    if data["format"] not in range(1, FORMAT + 1):
        raise StateUnreadable(
            f"{name} was written by another version (its format is {data['format']}, the newest known is {FORMAT})",
            hint="use the version of topology-reconciler that wrote it, or a newer one",
        )
    if data.pop(_SEAL) != _digest(data):
        raise StateUnreadable(f"{name} is damaged: its digest does not match its content", hint=_AGAIN)
    try:
        export = Export.model_validate_json(json.dumps(data))
        _check(export)
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateUnreadable(f"{name} is damaged: its content cannot be read", hint=_AGAIN) from error
    return export


def claimed(export: Export) -> dict[Claim, tuple[SliceKey, bool]]:
    """Return each claim's slice, and whether it is only held; raises ValueError where two slices have one claim."""
    found: dict[Claim, tuple[SliceKey, bool]] = {}
    for entry in export.slices:
        key = SliceKey(entry.key)
        allocation = None if entry.allocation is None else decode_allocation(json.dumps(entry.allocation))
        given = [] if allocation is None else [(claim, False) for claim in claims(key, allocation)]
        for claim, held in [*given, *((claim, True) for claim in entry.held)]:
            if claim in found:
                msg = f"{claim} is claimed twice"
                raise ValueError(msg)
            found[claim] = (key, held)
    return found


def _check(export: Export) -> None:
    """Decode every part as the store will; raises what those decoders raise."""
    claimed(export)
    for entry in export.resources:
        for data in (entry.resource, entry.pending):
            if data is not None:
                from_data(data)


def _digest(data: dict[str, Any]) -> str:
    text = json.dumps(data, separators=(",", ":"), sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
