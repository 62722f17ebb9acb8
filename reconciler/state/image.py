"""Defines one version of a state in memory: the image that `memory.py` stores, copies and modifies."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.plan.resources import from_data
from reconciler.plan.snapshot import Claim, Cordon, Counters, ResourceState, SliceAllocation, allocation_from_data
from reconciler.spec.models.names import Address, HostName, LinkId, SliceId, SliceKey, VmId
from reconciler.state.codec import encode_allocation
from reconciler.state.export import Export, claimed
from reconciler.state.locks import process
from reconciler.state.store import ApplyId, HistoryEntry, Holder, JournalEntry, Lock, OrphanId, SeenOrphan


@dataclass(frozen=True, slots=True)
class Meta:
    """The lineage, the serials, the counters and the last numbers that were given out."""

    lineage: str = ""
    serial: int = 0
    shared_moved: int = 0
    given_moved: int = 0
    counters: Counters = field(default_factory=Counters)
    applies: int = 0
    token: int = 0


@dataclass(frozen=True, slots=True)
class SliceMark:
    """The serial at which a slice last changed, and whether it leaves with its last resource."""

    moved: int
    leaving: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A resource; `due` while an apply has yet to change or delete it."""

    state: ResourceState
    due: bool


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A lock, and the process that holds it."""

    lock: Lock
    identity: process.Identity

    def is_abandoned(self, observer: Holder) -> bool:
        """Whether its holder has certainly ended; only a process on the holder's own host can know."""
        return self.lock.holder.host == observer.host and process.gone(self.lock.holder.pid, self.identity)


@dataclass(slots=True, eq=False)
class Image:
    """One version of a whole state, which is never modified once it is stored; no two of a store share a `version`."""

    version: int = 0
    meta: Meta = field(default_factory=Meta)
    slices: dict[SliceKey, SliceMark] = field(default_factory=dict)
    allocations: dict[SliceKey, SliceAllocation] = field(default_factory=dict)
    documents: dict[SliceKey, str] = field(default_factory=dict)
    claims: dict[Claim, tuple[SliceKey, bool]] = field(default_factory=dict)
    resources: dict[Address, Entry] = field(default_factory=dict)
    applies: dict[ApplyId, HistoryEntry] = field(default_factory=dict)
    journal: dict[ApplyId, tuple[JournalEntry, ...]] = field(default_factory=dict)
    locks: dict[str, HeldLock] = field(default_factory=dict)
    seen: dict[OrphanId, SeenOrphan] = field(default_factory=dict)
    cordons: dict[HostName, Cordon] = field(default_factory=dict)

    def __hash__(self) -> int:
        """Hash by version, so that a hash is not used again for a later image."""
        return hash(self.version)

    def unlocked(self) -> Image:
        """Return a copy without locks, which belong to running processes."""
        copied = self.draft(self.version)
        copied.locks = {}
        return copied

    def draft(self, version: int) -> Image:
        """Return a copy to modify."""
        return Image(
            version,
            self.meta,
            dict(self.slices),
            dict(self.allocations),
            dict(self.documents),
            dict(self.claims),
            dict(self.resources),
            dict(self.applies),
            dict(self.journal),
            dict(self.locks),
            dict(self.seen),
            dict(self.cordons),
        )


def image_of(export: Export) -> Image:
    """Return the image of an exported state, without its history and its orphans."""
    numbers = export.counters
    counters = Counters(SliceId(numbers.slice_id), VmId(numbers.vm_id), LinkId(numbers.link_id), numbers.turn)
    image = Image()
    image.meta = Meta(
        export.lineage,
        export.serial,
        export.shared_moved,
        export.given_moved,
        counters,
        numbers.applies,
        numbers.token,
    )
    image.claims = claimed(export)
    for entry in export.slices:
        key = SliceKey(entry.key)
        image.slices[key] = SliceMark(entry.moved, entry.leaving)
        if entry.allocation is not None:
            image.allocations[key] = allocation_from_data(entry.allocation)
            image.documents[key] = encode_allocation(image.allocations[key])
    for one in export.resources:
        pending = None if one.pending is None else from_data(one.pending)
        state = ResourceState(from_data(one.resource), one.status, pending)
        image.resources[state.resource.address] = Entry(state, one.due)
    image.cordons = {HostName(one.host): Cordon(one.user, one.since.isoformat()) for one in export.cordons}
    return image
