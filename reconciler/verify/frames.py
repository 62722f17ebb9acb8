"""Frames to ask the switches about, as Open vSwitch writes flows, and where a trace says that they come out; pure.

The notation is that of ovs-fields(7); what a trace prints is described under `ofproto/trace` in ovs-vswitchd(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from reconciler.spec.models.names import Address, HostName

BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
NOBODY: Final = "02:00:00:00:00:fd"
"""A MAC address that no station has: it is administered locally, and those given out start with 52:54:00."""

GROUP: Final = "01:00:5e:00:00:01"
"""The MAC address of the multicast group of all stations (RFC 1112, 6.4)."""

ALL_NODES: Final = "33:33:00:00:00:01"
"""The MAC address of all IPv6 nodes (RFC 2464, 7)."""

STRANGER: Final = "02:00:00:00:00:fe"
"""Another one, for the sender of what is forged."""

_PUSH: Final = re.compile(r"push_vlan\((?:[^()]*,)?vid=(\d+)[^()]*\)")
_MARK: Final = "Datapath actions: "


class Sort(StrEnum):
    """What a frame is to show; from `SPOOFED` on they must arrive nowhere."""

    BROADCAST = "a broadcast"
    KNOWN = "a frame to its MAC"
    UNKNOWN = "a frame to an unknown MAC"
    SPOOFED = "a frame from a forged MAC"
    NEIGHBOUR = "a frame from the MAC of a neighbour"
    FOREIGN = "a frame from the MAC of another slice's VM"
    GATEWAY = "a frame from the MAC of the gateway"
    MULTICAST = "a frame from a multicast MAC"
    FROM_ALL = "a frame from the broadcast MAC"
    TAGGED = "a frame tagged for another VLAN"
    PRIORITY = "a frame with a priority tag"
    DOUBLE = "a frame with two tags"
    ARP_SPOOFED = "an ARP answer for another's address"
    IP_SPOOFED = "a packet from another's address"
    ADVERTISING = "an IPv6 router advertisement"
    SERVING = "an answer of a DHCP server"
    INTRUDING = "a frame of a stranger on the trunk"

    @property
    def forged(self) -> bool:
        """Whether no switch may let it pass."""
        return self not in {Sort.BROADCAST, Sort.KNOWN, Sort.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Frame:
    """An Ethernet frame with IPv4 or ARP in it; `ip` is its sender's address, `vlan` its 802.1Q tag if it has one."""

    sort: Sort
    source: str
    target: str
    ip: str | None = None
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """One question for one switch: where does a frame go that comes in at this port.

    `origin` is who sent it, the address of a station or words. `number` is the port's OpenFlow number. `target` is the
    one station that must hear it, where there is one; `path` how it came here, in words, where it came by a trunk.
    """

    origin: str
    host: HostName
    port: str
    number: int
    frame: Frame
    target: Address | None = None
    path: tuple[str, ...] = ()

    @property
    def way(self) -> tuple[str, ...]:
        """Say how the frame got here, hop by hop."""
        return self.path or (f"{self.frame.sort} from {self.port} of {self.host}",)

    @property
    def flow(self) -> str:
        """Write the frame as `ofproto/trace` reads it."""
        return ",".join(_fields(self))


@dataclass(frozen=True, slots=True)
class Exit:
    """A switch port that a frame comes out of, and the 802.1Q tag that it then has."""

    port: str
    vlan: int | None


def arriving(probe: Probe, host: HostName, port: str, number: int, left: Exit) -> Probe:
    """Return the question for the next switch, where a frame comes in that left another one by its trunk."""
    hop = f"out of trunk {left.port} of {probe.host} on VLAN {left.vlan}, into {host}"
    frame = replace(probe.frame, vlan=left.vlan)
    return replace(probe, host=host, port=port, number=number, frame=frame, path=(*probe.way, hop))


def read_exits(trace: str, vlan: int | None) -> tuple[Exit, ...]:
    """Read from a trace where a frame comes out that came in with this tag; raises ValueError for what is not clear."""
    _, found, rest = trace.rpartition(_MARK)
    if not found:
        msg = f"a trace without {_MARK.strip()!r}"
        raise ValueError(msg)
    return tuple(_exits(rest.partition("\n")[0].strip(), vlan))


def _exits(actions: str, vlan: int | None) -> Iterator[Exit]:
    if actions == "drop":
        return
    for action in re.findall(r"(?:[^,()]|\([^()]*\))+", actions):
        if pushed := _PUSH.fullmatch(action):
            vlan = int(pushed[1])
        elif action == "pop_vlan":
            vlan = None
        elif "(" in action:
            msg = f"a switch would do something that cannot be followed: {action}"
            raise ValueError(msg)
        else:
            yield Exit(action.strip('"'), vlan)


def _fields(probe: Probe) -> Iterator[str]:
    frame = probe.frame
    yield f"in_port={probe.number},dl_src={frame.source},dl_dst={frame.target}"
    if frame.vlan is not None:
        yield f"dl_vlan={frame.vlan}"
    sender = frame.ip or "0.0.0.0"  # noqa: S104 - the sender of those that have no address; nothing is bound to it
    match frame.sort:
        case Sort.DOUBLE:
            yield "dl_type=0x8100"  # the switch looks at one tag: `vlan-limit` of ovs-vswitchd.conf.db(5)
        case Sort.ARP_SPOOFED:
            yield f"arp,arp_op=2,arp_sha={frame.source},arp_spa={sender}"
        case Sort.ADVERTISING:
            yield "icmp6,icmpv6_type=134,icmpv6_code=0"
        case Sort.SERVING:
            yield f"udp,nw_src={sender},udp_src=67,udp_dst=68"
        case _ if frame.target == BROADCAST:
            yield f"dl_type=0x0806,arp_op=1,arp_sha={frame.source},arp_spa={sender}"
        case _:
            yield f"dl_type=0x0800,nw_src={sender}"
