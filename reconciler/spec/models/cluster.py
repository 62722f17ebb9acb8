"""Defines the model of a cluster file."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StringConstraints, WithJsonSchema

from reconciler.spec.models.fields import (
    HostAddress,
    Ipv4,
    Ipv4Net,
    Model,
    Rate,
    Size,
    Version,
    format_rate,
    format_size,
)
from reconciler.spec.models.names import BitRate, Bytes, HostName, Name

PARKING_VLAN = 4094
"""Always in a trunk port's `trunks` column and never allocated: an empty column would mean every VLAN."""

NEVER = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")))
"""Networks that no guest reaches through the gateway: this host, loopback, link-local, multicast and reserved."""

PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15")))
"""Networks that the internet does not route (RFC 6890): closed, but for those of `allow_private`."""

BROADCAST = 1000
"""How many broadcasts and multicasts each NIC may send in a second, unless the file says otherwise."""

CONNECTIONS = 4096
"""How many connections of one guest the gateway tracks at once, unless the file says otherwise."""

SERIAL_LOG = Bytes(2 * 2**20)
"""How much of a worker's disk the log of a VM's serial port takes, unless the file says otherwise."""

FIRST_UID = 2_100_000_000
"""The user of the VM with id 0, unless the file says otherwise: above what systemd, subuid(5) and sssd give out."""

_LEAST_SERIAL_LOG = Bytes(64 * 2**10)
_BANDWIDTHS = BitRate(64 * 10**3), BitRate(100 * 10**9)


class VlanRange(NamedTuple):
    """The VLANs that slices can get, first and last included."""

    first: int
    last: int

    def __str__(self) -> str:
        """Write it as the file does."""
        return f"{self.first}-{self.last}"


def parse_vlan_range(value: Any) -> VlanRange:
    """Read `100-3999`; raises ValueError unless 1 <= first <= last <= 4093."""
    match = re.fullmatch(r"([1-9][0-9]{0,3})-([1-9][0-9]{0,3})", value) if isinstance(value, str) else None
    if match and 1 <= int(match[1]) <= int(match[2]) < PARKING_VLAN:
        return VlanRange(int(match[1]), int(match[2]))
    msg = f"write VLANs as first-last within 1-{PARKING_VLAN - 1}, such as 100-3999"
    raise ValueError(msg)


VlanRangeField = Annotated[
    VlanRange,
    BeforeValidator(parse_vlan_range),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,3}-[1-9][0-9]{0,3}$"}),
]


def _enough_for_a_log(size: Bytes) -> Bytes:
    if size < _LEAST_SERIAL_LOG:
        msg = f"write at least {format_size(_LEAST_SERIAL_LOG)}"
        raise ValueError(msg)
    return size


LogSize = Annotated[Size, AfterValidator(_enough_for_a_log), PlainSerializer(format_size)]


def _possible_bandwidth(rate: BitRate) -> BitRate:
    least, most = _BANDWIDTHS
    if not least <= rate <= most:
        msg = f"write a bandwidth from {format_rate(least)} to {format_rate(most)}"
        raise ValueError(msg)
    return rate


Bandwidth = Annotated[Rate, AfterValidator(_possible_bandwidth), PlainSerializer(format_rate)]


def _may_be_opened(network: IPv4Network) -> IPv4Network:
    if any(network.overlaps(one) for one in NEVER):
        msg = f"write a network without {', '.join(map(str, NEVER))}, which guests never reach"
        raise ValueError(msg)
    return network


OpenNet = Annotated[Ipv4Net, AfterValidator(_may_be_opened)]
"""A network that guests may reach through the gateway, if the file says so."""

INTERFACE_NAME_PATTERN = r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}$"
HOST_PATTERN = r"^([A-Za-z0-9][A-Za-z0-9._-]{0,252}|[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9._-]{1,32})?)$"
USER_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$"
IDENTITY_PATTERN = r"^[0-9a-z]{4,32}$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"

InterfaceName = Annotated[str, StringConstraints(pattern=INTERFACE_NAME_PATTERN)]
"""A network interface or bridge as the kernel allows it: at most 15 characters."""

Vlan = Annotated[int, Field(ge=1, lt=PARKING_VLAN)]
Port = Annotated[int, Field(ge=1, le=65535)]


def _host_without_port(host: str) -> str:
    if ":" in host:
        try:
            IPv6Address(host)
        except ValueError:
            msg = "write a host's name or address alone, and its port in `port`"
            raise ValueError(msg) from None
    return host


SshHost = Annotated[str, StringConstraints(pattern=HOST_PATTERN), AfterValidator(_host_without_port)]
"""What ssh connects to: a name, an IPv4 address, or an IPv6 address without brackets."""


class Jump(NamedTuple):
    """A host on the way to another; what is None is as SSH has it by default."""

    user: str | None
    host: str
    port: int | None


_JUMP = re.compile(r"(?:ssh://)?(?:([^@\s]+)@)?(?:\[([^\]\s]+)\]|([^@:\[\]\s]+))(?::([0-9]{1,5}))?")


def parse_jumps(text: str) -> tuple[Jump, ...]:
    """Read `none`, or `[USER@]HOST[:PORT]` separated by commas, in the order of the way; raises ValueError."""
    if text.lower() == "none":
        return ()
    return tuple(_jump(item.strip()) for item in text.split(","))


def _jump(text: str) -> Jump:
    match = _JUMP.fullmatch(text)
    host = (match[2] or match[3]) if match else ""
    port = int(match[4]) if match and match[4] else None
    users = match is None or match[1] is None or re.fullmatch(USER_PATTERN, match[1])
    if match is None or not users or not re.fullmatch(HOST_PATTERN, host) or port not in {None, *range(1, 65536)}:
        msg = "write [USER@]HOST[:PORT], more than one separated by commas, or none; an IPv6 address as [fd00::1]:22"
        raise ValueError(msg)
    return Jump(match[1], _host_without_port(host), port)


def _jumps(text: str) -> str:
    parse_jumps(text)
    return text


class Capacity(Model):
    """The most that a worker can hold; a field that is left out is not limited."""

    vms: Annotated[int, Field(ge=0)] | None = None
    vcpus: Annotated[int, Field(ge=0)] | None = None
    memory: Size | None = None
    disk: Size | None = None


class Quota(Capacity):
    """The most that one user can have; a field that is left out is not limited."""

    slices: Annotated[int, Field(ge=0)] | None = None
    vlans: Annotated[int, Field(ge=0)] | None = None


class Login(Model):
    """How to reach a host over SSH; a host's settings override the cluster's.

    With `config: true`, what these leave out is as `~/.ssh/config` says. `proxy_jump` names the hosts on the way.
    """

    host: SshHost | None = None
    user: Annotated[str, StringConstraints(pattern=USER_PATTERN)] | None = None
    port: Port | None = None
    identity_file: str | None = None
    known_hosts: str | None = None
    sudo: bool | None = None
    config: bool | None = None
    proxy_jump: Annotated[str, AfterValidator(_jumps)] | None = None


def login_address(login: Login) -> IPv4Address | None:
    """Return the IPv4 address to log in at, or None if it is a name, IPv6, or that of the host itself."""
    try:
        return None if login.host is None else IPv4Address(login.host)
    except ValueError:
        return None


class Host(Model):
    """A Linux host: `address` is its own IP address; `ssh` is how to connect if that differs.

    `addresses` are further ones that it has, which guests must not reach either.
    """

    name: Name
    address: HostAddress
    addresses: tuple[HostAddress, ...] = Field(default=(), strict=False)
    ssh: Login = Login()


class Worker(Host):
    """A host that runs VMs."""

    capacity: Capacity = Capacity()


class NetworkNode(Host):
    """The host that runs the slices' routers and their access to the internet."""

    uplink: InterfaceName


class Bridge(Model):
    """The Open vSwitch bridge of every host, and its port towards the other hosts.

    `trunk_mtu` is the largest packet in bytes that the trunks, and what is between them, carry inside a VLAN.
    """

    name: InterfaceName = "br-int"
    trunk: InterfaceName
    trunk_mtu: Annotated[int, Field(ge=576, le=9216)] = 1500


class Vlans(Model):
    """The VLANs that slices get, and how many each slice gets."""

    range: VlanRangeField = VlanRange(100, 3999)
    per_slice: Annotated[int, Field(ge=1, le=4094)] = 20
    reserved: tuple[Vlan, ...] = Field(default=(), strict=False)


class Internet(Model):
    """The internet VLAN: its gateway is on the network node and translates addresses."""

    vlan: Vlan = 400
    subnet: Ipv4Net = IPv4Network("10.60.7.0/24")
    gateway: Ipv4 = IPv4Address("10.60.7.1")
    dns: tuple[Ipv4, ...] = Field(default=(), strict=False)


class LinkSubnets(Model):
    """The network that links get their subnets from."""

    subnets: Ipv4Net = IPv4Network("192.168.0.0/16")


class Limits(Model):
    """The most that each VM can take of what it shares with others, beside what its flavor says.

    `serial_log` bounds the log of what its guest writes to its serial port. VMs that run get another limit when they
    start the next time. `bandwidth` bounds what each of its NICs sends, and what it receives. `broadcast` bounds how
    many broadcasts and multicasts each of its NICs sends in a second, and `connections` bounds how many of its
    connections to the internet the gateway tracks at once; null is no limit of any of these.
    """

    bandwidth: Bandwidth | None = None
    broadcast: Annotated[int, Field(ge=10, le=1_000_000)] | None = BROADCAST
    connections: Annotated[int, Field(ge=16, le=1_000_000)] | None = CONNECTIONS
    serial_log: LogSize = Field(default=SERIAL_LOG, json_schema_extra={"default": format_size(SERIAL_LOG)})


class Image(Model):
    """A base image: a QCOW2 file, by a path relative to the cluster file, and its SHA-256."""

    file: str
    sha256: Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]


class Flavor(Model):
    """A size of VM."""

    image: Name
    vcpus: Annotated[int, Field(ge=1, le=256)]
    memory: Size
    disk: Size


class User(Model):
    """A user, who can own slices.

    With `paths`, slice files of this owner must be there: patterns relative to the cluster file's folder, where `*` is
    any part of a name and `**` any folders, such as `slices/alice/**`. With `renamed_from`, slices that the state has
    under that owner are this one's.
    """

    quota: Quota = Quota()
    renamed_from: Name | None = None
    paths: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(default=(), strict=False)


class Cluster(Model):
    """A cluster file: hosts, networks, images, flavors and users.

    `id` distinguishes the cluster from another one of the same name: the default place of its state has it. Guests on
    the internet VLAN reach only the networks of `allow_private` among private ones, and never a host. The process of a
    VM runs on its worker as the user `first_uid` plus the VM's id, which nobody else may have.
    """

    version: Version
    name: Name
    id: Annotated[str, StringConstraints(pattern=IDENTITY_PATTERN)] | None = None
    workers: Annotated[tuple[Worker, ...], Field(min_length=1, strict=False)]
    network_node: NetworkNode
    ssh: Login = Login()
    bridge: Bridge
    accelerator: Literal["kvm", "tcg"] = "kvm"
    first_uid: Annotated[int, Field(ge=1000, le=2_130_000_000)] = FIRST_UID
    placement: Literal["round-robin", "spread", "pack", "locality"] = "round-robin"
    vlans: Vlans = Vlans()
    internet: Internet = Internet()
    allow_private: tuple[OpenNet, ...] = Field(default=(), strict=False)
    links: LinkSubnets = LinkSubnets()
    limits: Limits = Limits()
    images: dict[Name, Image] = Field(default_factory=dict)
    flavors: dict[Name, Flavor] = Field(default_factory=dict)
    users: dict[Name, User] = Field(default_factory=dict)

    def hosts(self) -> tuple[Host, ...]:
        """Return the workers in the order of the file, then the network node."""
        return (*self.workers, self.network_node)

    def addresses(self) -> tuple[IPv4Address, ...]:
        """Return the IPv4 addresses of all hosts: their own, and those to log in at, where the file has numbers."""
        found = {one for host in self.hosts() for one in (host.address, *host.addresses, login_address(host.ssh))}
        return tuple(sorted(one for one in found if isinstance(one, IPv4Address) and not one.is_loopback))

    def host(self, name: str) -> Host:
        """Return a host by its name; raises KeyError for an unknown one."""
        for host in self.hosts():
            if host.name == name:
                return host
        raise KeyError(HostName(name))

    def login(self, host: Host) -> Login:
        """Return how a host is reached: its own settings, else those of all hosts; its address if it has no `host`."""
        own = {name: value for name, value in host.ssh if value is not None}
        return self.ssh.model_copy(update={"host": self.ssh.host or str(host.address)} | own)
