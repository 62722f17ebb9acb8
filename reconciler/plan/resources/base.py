"""Defines what every kind of resource has: its identity, its host, what it depends on, and its facets.

A kind is one module of this package. It declares a noun (a class below `Resource`) and overrides the facets whose
default does not fit. Code outside asks a facet and never which kind a resource is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple, NewType, Self, TypeVar

from reconciler.plan.immutable import noun
from reconciler.plan.resources.station import Station
from reconciler.spec.models.fields import UpdatePolicy
from reconciler.spec.models.names import Address, HostName, VlanId

if TYPE_CHECKING:
    from reconciler.plan.design import SharedDesign, SliceDesign
    from reconciler.plan.model import Change
    from reconciler.plan.snapshot import Claim
    from reconciler.spec.models.cluster import Cluster

Kind = NewType("Kind", str)
"""The type of a resource, as addresses begin with it: `vm`, `port`, ..."""

ROOT = "/var/lib/reconciler"
"""The directory on a host that holds all our files."""

LIVE, RESTART, FIXED = UpdatePolicy.LIVE, UpdatePolicy.RESTART, UpdatePolicy.RECREATE

R = TypeVar("R", bound="Resource")


class Scope(StrEnum):
    """Who uses a resource of a kind: one slice, several slices, or (trunks) either."""

    SLICE = "slice"
    SHARED = "shared"
    EITHER = "either"


class Unit(StrEnum):
    """What a resource belongs to. Its name says which one: `alice/lab1/web:eth1` for a NIC."""

    HOST = "host"
    SLICE = "slice"
    LINK = "link"
    VM = "vm"
    NIC = "nic"


class GraphRole(StrEnum):
    """The part that a kind has in a slice's graph of VMs and links."""

    NONE = "none"
    NODE = "node"  # a VM
    END = "end"  # a link's end, at a NIC of a VM
    BASE = "base"  # what a VM's disk reads from


class Use(NamedTuple):
    """A resource of the same host that another one uses: its kind and its name there (None: whichever there is).

    `certain` is False where the other one's host does not show whether it is used.
    """

    kind: Kind
    name: str | None
    certain: bool = True


@noun
class Resource:
    """A resource: its address, its host, and what must exist before it.

    `slice` is the `owner/name` that it belongs to, or None for what slices share. `needs` are resources that exist
    before this one and outlive it; when one is replaced, this one is replaced too. `after` only orders creation and
    deletion. `formerly` are addresses that it had before a rename, and that its objects may still have as tags. The
    class variables and the methods are the facets of the kind.
    """

    kind: ClassVar[Kind]

    scope: ClassVar[Scope] = Scope.SLICE
    unit: ClassVar[Unit] = Unit.SLICE
    graph_role: ClassVar[GraphRole] = GraphRole.NONE

    holds_data: ClassVar[bool] = False
    """Whether a guest's data is lost with it."""

    held_open: ClassVar[bool] = False
    """Whether what needs it holds it open, and so must be replaced where it went missing."""

    runtime: ClassVar[bool] = False
    """Whether it exists only while its VM runs: stopping the VM removes it."""

    verified: ClassVar[bool] = False
    """Whether verify compares its attributes with its host, because following frames does not show all of them."""

    follows: ClassVar[frozenset[Kind]] = frozenset()
    """Kinds that are created before it and removed after it, where they are on its host and of its slice or shared."""

    may_precede: ClassVar[frozenset[Kind]] = frozenset()
    """Kinds in `after` for which its creation does not wait, because it can do without them for some seconds."""

    summary: ClassVar[tuple[str, ...]] = ()
    """The attributes that a plan shows of a new one."""

    sizes: ClassVar[frozenset[str]] = frozenset()
    """The attributes that count bytes."""

    rates: ClassVar[frozenset[str]] = frozenset()
    """The attributes that count bits in a second."""

    secrets: ClassVar[frozenset[str]] = frozenset()
    """The attributes that hold the digest of a secret. They are not shown to people."""

    nested: ClassVar[Mapping[str, type]] = {}
    """The class of the items of each attribute that is a tuple of structures."""

    address: Address
    slice: str | None
    host: Annotated[HostName, FIXED]
    needs: tuple[Address, ...] = field(default=(), compare=False)
    after: tuple[Address, ...] = field(default=(), compare=False)
    formerly: tuple[Address, ...] = field(default=(), compare=False)

    @classmethod
    def desired(cls, design: SliceDesign) -> Iterable[Self]:
        """Return the resources of this kind that a slice needs."""
        del design
        return ()

    @classmethod
    def shared(cls, design: SharedDesign) -> Iterable[Self]:
        """Return the resources of this kind that slices share."""
        del design
        return ()

    @classmethod
    def claimed(cls, cluster: Cluster, claims: Collection[Claim]) -> Iterable[Address]:
        """Return the addresses of the shared resources of this kind that these claims keep."""
        del cluster, claims
        return ()

    @classmethod
    def interrupts_link(cls, change: Change, nic: int) -> bool:
        """Whether a change to one takes down the link at that NIC; asked of nodes and ends of the graph."""
        del change, nic
        return False

    def as_updated(self, change: Change) -> Resource:
        """Return it as an update in place leaves it: with what only a new start would change."""
        del change
        return self

    @property
    def restart_pending(self) -> bool:
        """Whether what runs of it will be different from its next start on, for another reason than its attributes."""
        return False

    @property
    def name_on_host(self) -> str:
        """The name by which the host knows it (a path, an interface). No two of a kind have the same one."""
        return self.address

    @property
    def content_digest(self) -> str | None:
        """The digest of the file that is copied to the host to create it; None where there is no such file."""
        return None

    def uses(self) -> Iterable[Use]:
        """Return what it uses on its host, by the names that the host knows."""
        return ()

    @property
    def disk_space(self) -> int:
        """How many bytes of its host's disk it may take up, as far as a file says so."""
        return 0

    def completed(self, find: Callable[[Address], Resource | None]) -> Self:
        """Return it with what earlier versions did not record; `find` finds other resources of the state."""
        del find
        return self

    def merged(self, pending: Resource | None) -> Resource:
        """Return the most that may exist on the host of an unfinished change from this one to `pending`."""
        del pending
        return self

    def conflict(self, other: Resource) -> str | None:
        """Return why this one and another one cannot both exist on one host, or None where they can."""
        del other
        return None

    def unique_numbers(self) -> Iterable[str]:
        """Return the numbers that no other resource of the cluster may have, each as a phrase: `MAC 52:54:...`."""
        return ()

    def private_vlans(self) -> Iterable[int]:
        """Return the VLANs on which no other slice may have anything."""
        return ()

    def station(self) -> Station | None:
        """Return how it takes part in the network; None where it sends no frames of its own."""
        return None

    def carried_vlans(self) -> Iterable[VlanId]:
        """Return the VLANs that it adds to its host's trunk port."""
        return ()

    def guarded_vlans(self) -> Iterable[VlanId]:
        """Return the VLANs on which its host's trunk accepts only frames from the internet gateway."""
        return ()

    def leased(self) -> Iterable[tuple[str, str]]:
        """Return the addresses that it reserves with DHCP, as pairs of MAC and IP."""
        return ()


def address(kind: type[Resource], name: str) -> Address:
    """Form the address of a resource: its kind and its name."""
    return Address(f"{kind.kind}/{name}")


def kind_in(where: Address) -> Kind:
    """Return the kind that an address names."""
    return Kind(where.partition("/")[0])


def of_kind(resource: Resource | None, noun: type[R]) -> R | None:
    """Return a resource that was found by its address as the class of its kind; None where none was found."""
    return resource if isinstance(resource, noun) else None
