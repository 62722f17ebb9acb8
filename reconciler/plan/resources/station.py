"""Describes how a resource takes part in the network, as verify needs it."""

from __future__ import annotations

from enum import StrEnum

from reconciler.plan.immutable import immutable
from reconciler.spec.models.names import Address, HostName, LinkKey, VlanId


class StationRole(StrEnum):
    """What sends and receives frames at a station."""

    GUEST = "guest"  # a NIC of a VM
    ROUTER = "router"  # an interface of a slice's router
    GATEWAY = "gateway"  # the internet VLAN's gateway


@immutable
class Station:
    """An endpoint that sends and receives frames.

    `interface` is its name on the host, which is also that of its port on the switch. `mac` is None where the host
    chooses it. `ip` is its address; `network` has the prefix length too. `namespace` is empty for the host's own.
    `gateway_mac` is set for a guest on the internet VLAN. A router serves `link`, reserves `leases` (pairs of MAC and
    IP) and may forward. `uplink` is the interface behind a gateway; `closed` are addresses that guests never reach
    through it, `opened` networks that they may.
    """

    role: StationRole
    address: Address
    slice: str | None
    host: HostName
    interface: str
    vlan: VlanId | None
    mac: str | None
    ip: str | None
    network: str = ""
    namespace: str = ""
    gateway_mac: str | None = None
    link: LinkKey | None = None
    leases: tuple[tuple[str, str], ...] = ()
    forwards: bool = True
    uplink: str = ""
    closed: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
