"""Allocates VLAN blocks to slices and subnets to links."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Network
from typing import NamedTuple

from reconciler.errors import Limit, LimitError
from reconciler.plan.snapshot import FIRST_SLICE_ID, Block, StateSnapshot
from reconciler.spec.models.cluster import Cluster
from reconciler.spec.models.names import SliceId, SliceKey, VlanId
from reconciler.spec.quoting import plural

_LINK_PREFIX = 24


class VlanBlocks:
    """The cluster's VLAN range, given out in blocks of at most `per_slice`. Taken VLANs are the bits of one integer."""

    def __init__(self, cluster: Cluster, state: StateSnapshot) -> None:
        self.range = cluster.vlans.range
        self.size = cluster.vlans.per_slice
        self._starts = range(self.range.first, self.range.last - self.size + 2, self.size)
        self._reserved = 0
        for vlan in (cluster.internet.vlan, *cluster.vlans.reserved):
            self._reserved |= 1 << vlan
        self._taken = self._reserved
        for had in state.allocations.values():
            for block in had.pool:
                self._take(block.first, block.last)
        for claim in (claim for held in state.held.values() for claim in held):
            if claim.kind == "vlan":
                self._take(int(claim.value), int(claim.value))
            if claim.kind == "vlan-block":
                self._take(int(claim.value), int(claim.value) + self.size - 1)

    def give(self, slice_id: SliceId, key: SliceKey, count: int, asked: int) -> Block:
        """Take a block of `count` VLANs; raises LimitError if none is left.

        A whole block is the one that the slice's id prefers, or the first free one. A smaller one begins at the first
        VLAN with enough free ones after it. A block that contains a reserved VLAN is never given.
        """
        for start in self._whole(slice_id) if count == self.size else range(self.range.first, self.range.last + 1):
            if start + count - 1 <= self.range.last and not _bits(self._taken, start, count):
                self._take(start, start + count - 1)
                return Block(VlanId(start), VlanId(start + count - 1))
        every = self.range.last - self.range.first + 1
        reserved = _bits(self._reserved, self.range.first, every).bit_count()
        taken = _bits(self._taken, self.range.first, every).bit_count()
        raise LimitError(
            Limit.VLAN_RANGE,
            f"VLANs of range {self.range} for {key}",
            maximum=every - reserved,
            used=taken - reserved,
            asked=asked,
            hint=self._remark(reserved, count, every - taken)
            + "destroy a slice, or widen vlans.range in the cluster file",
        )

    def _whole(self, slice_id: SliceId) -> Iterator[int]:
        preferred = self.range.first + self.size * (slice_id - FIRST_SLICE_ID)
        if preferred in self._starts:
            yield preferred
        yield from self._starts

    def _remark(self, reserved: int, count: int, free: int) -> str:
        """Say what the numbers do not: how many VLANs are reserved, and that free ones are not in one piece."""
        told = f"not counted: {plural(reserved, 'reserved VLAN')}; " if reserved else ""
        return told + (f"no {count} free ones are in one block; " if free >= count else "")

    def _take(self, first: int, last: int) -> None:
        self._taken |= ((1 << (last - first + 1)) - 1) << first


def _bits(number: int, start: int, count: int) -> int:
    return number >> start & ((1 << count) - 1)


def vlans_of(pool: Sequence[Block], limit: int) -> list[VlanId]:
    """Return the VLANs of a pool in order, at most `limit`."""
    return [VlanId(vlan) for block in pool for vlan in range(block.first, block.last + 1)][:limit]


class Subnets:
    """The subnets of one slice's links. They must differ within the slice, because its router joins them all.

    Slices have routers of their own, so two slices may use the same subnet.
    """

    def __init__(self, cluster: Cluster, written: Iterable[IPv4Network]) -> None:
        self._whole = cluster.links.subnets
        self._step = max(_LINK_PREFIX, self._whole.prefixlen)
        self._count = 2 ** (self._step - self._whole.prefixlen)
        self._first = int(self._whole.network_address)
        self._avoided = [_span(str(network)) for network in (*written, cluster.internet.subnet)]
        self._used: set[str] = set()

    def keep(self, subnet: str) -> bool:
        """Take a subnet of the state again; False if a subnet of the file overlaps it now."""
        free = self._is_free(subnet)
        if free:
            self._used.add(subnet)
        return free

    def avoid(self, subnet: str) -> None:
        """Exclude a subnet: the segment that had it may still exist."""
        self._avoided.append(_span(subnet))

    def give(self, vlan: VlanId) -> str:
        """Take `192.168.{vlan % 256}.0/24` if it is free, or the next free one; raises LimitError if none is left."""
        for offset in range(self._count):
            subnet = _subnet(self._first, self._step, (vlan % 256 + offset) % self._count)
            if self._is_free(subnet):
                self._used.add(subnet)
                return subnet
        raise LimitError(
            Limit.LINK_SUBNETS, "subnets for links of one slice", maximum=self._count, used=self._count, asked=1
        )

    def _is_free(self, subnet: str) -> bool:
        if subnet in self._used:
            return False
        first, last = _span(subnet)
        return not any(first <= other.last and other.first <= last for other in self._avoided)


class _Span(NamedTuple):
    """The first and last address of a subnet as numbers, which compare many times as fast as networks do."""

    first: int
    last: int


# Slices have routers of their own, and so the same few subnets come up again and again.


@lru_cache(maxsize=2**12)
def _span(subnet: str) -> _Span:
    network = IPv4Network(subnet)
    return _Span(int(network.network_address), int(network.broadcast_address))


@lru_cache(maxsize=2**12)
def _subnet(first: int, prefix: int, index: int) -> str:
    return str(IPv4Network((first + (index << (32 - prefix)), prefix)))
