"""The nouns: every kind of thing that stands on a host, with its identity, attributes and what it needs; no behaviour.

A resource's address is `kind/name` and says whose it is. Each attribute carries the update policy that a change of it
costs; attributes that stem from a field of the slice file take the policy of that field. `needs` are resources that
must stand before this one and outlive it; `after` only order creation and deletion, and never force a replacement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Annotated, Any, ClassVar, NewType, get_type_hints

from reconciler.spec.models import slice as spec
from reconciler.spec.models.fields import UpdatePolicy, update_policy
from reconciler.spec.models.names import Address, Bytes, HostName, VlanId, VmId

Kind = NewType("Kind", str)
"""The type of a resource, as it stands in addresses: `vm`, `port`, ..."""

ROOT = "/var/lib/reconciler"
"""Where everything of ours lives on a host."""


LIVE, RESTART, FIXED = UpdatePolicy.LIVE, UpdatePolicy.RESTART, UpdatePolicy.RECREATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What every resource has: an identity, a host, and what must stand before it.

    `slice` is the `owner/name` it belongs to, or None for what slices share.
    """

    kind: ClassVar[Kind]

    address: Address
    slice: str | None
    host: Annotated[HostName, FIXED]
    needs: tuple[Address, ...] = field(default=(), compare=False)
    after: tuple[Address, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image(Resource):
    """A base QCOW2 on a worker, shared by the overlays there; named by its content: it never changes."""

    kind: ClassVar[Kind] = Kind("image")

    path: Annotated[str, FIXED]
    sha256: Annotated[str, FIXED]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk(Resource):
    """A QCOW2 overlay of one VM; `size` is the virtual size in bytes, `backing` the image's path on the same host."""

    kind: ClassVar[Kind] = Kind("disk")

    path: Annotated[str, FIXED]
    backing: Annotated[str, update_policy(spec.Vm, "image")]
    size: Annotated[Bytes, update_policy(spec.Vm, "disk")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed(Resource):
    """A read-only disk with one VM's user-data, in the form that cloud-init's NoCloud reads.

    `cloud_init` is a digest of the user-data that is dear to guess from: the content is in no resource.
    """

    kind: ClassVar[Kind] = Kind("seed")

    path: Annotated[str, FIXED]
    vm_id: Annotated[VmId, FIXED]
    hostname: Annotated[str, FIXED]
    cloud_init: Annotated[str, LIVE]

    @property
    def instance_id(self) -> str:
        """What cloud-init tells instances apart by: with other user-data it takes the guest for a new one."""
        return f"{self.vm_id}-{self.cloud_init}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Port(Resource):
    """A TAP of one NIC, and its port on the bridge when `vlan` is set; an unlinked NIC's TAP is on no bridge at all.

    `gateway_mac` and `ip` are set on the internet VLAN alone: the one station that this port may talk to there, and the
    VM's address, the only one that it may send from.
    """

    kind: ClassVar[Kind] = Kind("port")

    bridge: Annotated[str, FIXED]
    tap: Annotated[str, FIXED]
    mac: Annotated[str, FIXED]
    mtu: Annotated[int, update_policy(spec.Link, "mtu")]
    vlan: Annotated[VlanId | None, LIVE]
    gateway_mac: Annotated[str | None, LIVE]
    ip: Annotated[str | None, LIVE] = None


@dataclass(frozen=True, slots=True)
class Nic:
    """One network card of a VM, in the order the guest numbers them."""

    tap: str
    mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Vm(Resource):
    """One QEMU process; `directory` holds its pidfile and sockets; `vnc` is a TCP port on the host's loopback.

    `cloud_init` is the digest on its seed, or None where it has none.
    """

    kind: ClassVar[Kind] = Kind("vm")

    vm_id: Annotated[VmId, FIXED]
    directory: Annotated[str, FIXED]
    disk: Annotated[str, FIXED]
    vcpus: Annotated[int, update_policy(spec.Vm, "vcpus")]
    memory: Annotated[Bytes, update_policy(spec.Vm, "memory")]
    nics: Annotated[tuple[Nic, ...], update_policy(spec.Vm, "interfaces")]
    vnc: Annotated[int, RESTART]
    accelerator: Annotated[str, RESTART]
    cloud_init: Annotated[str | None, update_policy(spec.Vm, "cloud_init")] = None

    @property
    def seed(self) -> str:
        """The path of its seed on the host, where it has one."""
        return f"{self.directory}/seed.iso"

    @property
    def serial(self) -> str:
        """The path of the serial console's socket on the host."""
        return f"{self.directory}/serial.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Router(Resource):
    """A network namespace of one slice on the network node; forwards between its segments, nowhere else."""

    kind: ClassVar[Kind] = Kind("router")

    namespace: Annotated[str, FIXED]


@dataclass(frozen=True, slots=True)
class Lease:
    """An address that DHCP keeps for one NIC; `default_route` says whether the guest is told to route through here."""

    mac: str
    ip: str
    hostname: str
    default_route: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment(Resource):
    """One link's VLAN in its slice's router: an internal port of the bridge, an address, and the NICs' DHCP leases.

    `ip` is the router's address with its prefix length, such as `192.168.100.1/24`. Without `gateway` the router
    answers DHCP here but forwards nothing; without `dhcp` it hands out nothing.
    """

    kind: ClassVar[Kind] = Kind("segment")

    bridge: Annotated[str, FIXED]
    namespace: Annotated[str, FIXED]
    interface: Annotated[str, FIXED]
    vlan: Annotated[VlanId, FIXED]
    ip: Annotated[str, update_policy(spec.Link, "subnet")]
    gateway: Annotated[bool, update_policy(spec.Link, "gateway")]
    dhcp: Annotated[bool, update_policy(spec.Link, "dhcp")]
    mtu: Annotated[int, LIVE]
    leases: Annotated[tuple[Lease, ...], LIVE]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk(Resource):
    """The VLANs that one slice, or the internet VLAN, adds to a host's trunk port.

    `gateway_mac` is set for the internet VLAN on workers: frames that come in over the trunk from any other station of
    that VLAN are dropped.
    """

    kind: ClassVar[Kind] = Kind("trunk")

    bridge: Annotated[str, FIXED]
    port: Annotated[str, FIXED]
    vlans: Annotated[tuple[VlanId, ...], LIVE]
    gateway_mac: Annotated[str | None, LIVE]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink(Resource):
    """The internet VLAN's gateway on the network node: an internal port, its address, DHCP, and NAT out of `uplink`.

    `ip` carries its prefix length, such as `10.60.7.1/24`.
    """

    kind: ClassVar[Kind] = Kind("uplink")

    bridge: Annotated[str, FIXED]
    interface: Annotated[str, FIXED]
    vlan: Annotated[VlanId, FIXED]
    ip: Annotated[str, FIXED]
    mac: Annotated[str, FIXED]
    uplink: Annotated[str, LIVE]
    dns: Annotated[tuple[str, ...], LIVE]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation(Resource):
    """An address on the internet VLAN that DHCP keeps for one VM's eth0."""

    kind: ClassVar[Kind] = Kind("reservation")

    mac: Annotated[str, FIXED]
    ip: Annotated[str, FIXED]
    hostname: Annotated[str, FIXED]


NOUNS: tuple[type[Resource], ...] = (Image, Uplink, Router, Trunk, Reservation, Segment, Disk, Seed, Port, Vm)
"""Every kind of resource, in the order in which they are listed to people: what others stand on comes first."""

_BY_KIND = {noun.kind: noun for noun in NOUNS}
_NESTED: Mapping[tuple[Kind, str], type] = {(Vm.kind, "nics"): Nic, (Segment.kind, "leases"): Lease}


def address(noun: type[Resource], name: str) -> Address:
    """Form the address of a resource: its kind and its name."""
    return Address(f"{noun.kind}/{name}")


@cache
def attributes(kind: Kind) -> Mapping[str, UpdatePolicy]:
    """Return the names of a kind's attributes with the policy of each, in the order of their declaration."""
    noun = _BY_KIND[kind]
    hints = get_type_hints(noun, include_extras=True)
    metadata = {item.name: getattr(hints[item.name], "__metadata__", ()) for item in fields(noun)}
    return {name: policy for name, found in metadata.items() for policy in found if isinstance(policy, UpdatePolicy)}


def to_data(resource: Resource) -> dict[str, Any]:
    """Write a resource as plain data (dicts, lists, strings, numbers) that `from_data` reads back."""
    return {"kind": resource.kind} | {item.name: _plain(getattr(resource, item.name)) for item in fields(resource)}


def from_data(data: Mapping[str, Any]) -> Resource:
    """Read a resource back; raises KeyError or TypeError where the data is none of ours."""
    noun = _BY_KIND[data["kind"]]
    return noun(**{name: _frozen(noun.kind, name, value) for name, value in data.items() if name != "kind"})


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Nic | Lease):
        return {item.name: getattr(value, item.name) for item in fields(value)}
    return value


def _frozen(kind: Kind, name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    nested = _NESTED.get((kind, name))
    return tuple(nested(**item) if nested else item for item in value)
