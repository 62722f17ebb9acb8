"""Writes test frames in the flow syntax of Open vSwitch, and reads from its traces which ports the frames leave by.

The syntax is that of ovs-fields(7). The output of `ofproto/trace` is described in ovs-vswitchd(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from reconciler.spec.models.names import Address, HostName

BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
UNUSED_MAC: Final = "02:00:00:00:00:fd"
"""A locally administered MAC address that no station has; allocated ones start with 52:54:00."""

GROUP: Final = "01:00:5e:00:00:01"
"""The MAC address of the multicast group of all stations (RFC 1112, 6.4)."""

ALL_NODES: Final = "33:33:00:00:00:01"
"""The MAC address of all IPv6 nodes (RFC 2464, 7)."""

UNKNOWN_MAC: Final = "02:00:00:00:00:fe"
"""A second unused MAC address, for the sender of forged frames."""

_PUSH: Final = re.compile(r"push_vlan\((?:[^()]*,)?vid=(\d+)[^()]*\)")
_METER: Final = re.compile(r"meter\(\d+\)")
_MARK: Final = "Datapath actions: "


class FrameKind(StrEnum):
    """What a test frame checks. Kinds from `SPOOFED` on are forged: no port may receive them."""

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
    ARP_SPOOFED = "an ARP reply for another VM's address"
    IP_SPOOFED = "a packet with another VM's source address"
    ADVERTISING = "an IPv6 router advertisement"
    SERVING = "a reply of a DHCP server"
    UNEXPECTED = "a frame from an unknown MAC on the trunk"

    @property
    def forged(self) -> bool:
        """Whether every switch must drop the frame."""
        return self not in {FrameKind.BROADCAST, FrameKind.KNOWN, FrameKind.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Frame:
    """An Ethernet frame that carries IPv4 or ARP; `ip` is the sender's address, `vlan` the 802.1Q tag, or None."""

    kind: FrameKind
    source: str
    target: str
    ip: str | None = None
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """One query to one switch: which ports a frame leaves by if it enters at this port.

    `origin` is the sender: the address of a station, or a description. `number` is the port's OpenFlow number. `target`
    is the station that must receive the frame, if there is exactly one. `path` has the hops before this switch, for a
    frame that enters by a trunk.
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
        """The hops of the frame up to this switch."""
        return self.path or (f"{self.frame.kind} from {self.port} of {self.host}",)

    @property
    def flow(self) -> str:
        """The frame in the syntax of `ofproto/trace`."""
        return ",".join(_fields(self))


@dataclass(frozen=True, slots=True)
class Exit:
    """A switch port that a frame leaves by, and the 802.1Q tag that it then has."""

    port: str
    vlan: int | None


def arriving(probe: Probe, host: HostName, port: str, number: int, left: Exit) -> Probe:
    """Return the probe for the next switch, which a frame enters after it left another switch by its trunk."""
    hop = f"out of trunk {left.port} of {probe.host} on VLAN {left.vlan}, into {host}"
    frame = replace(probe.frame, vlan=left.vlan)
    return replace(probe, host=host, port=port, number=number, frame=frame, path=(*probe.way, hop))


def read_exits(trace: str, vlan: int | None) -> tuple[Exit, ...]:
    """Read the exits of a frame from a trace; `vlan` is its tag on entry. Raises ValueError if the trace is unclear."""
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
        elif _METER.fullmatch(action):
            continue  # a limit, which the first frame passes
        elif "(" in action:
            msg = f"a switch action that cannot be followed: {action}"
            raise ValueError(msg)
        else:
            yield Exit(action.strip('"'), vlan)


def _fields(probe: Probe) -> Iterator[str]:
    frame = probe.frame
    yield f"in_port={probe.number},dl_src={frame.source},dl_dst={frame.target}"
    if frame.vlan is not None:
        yield f"dl_vlan={frame.vlan}"
    sender = frame.ip or "0.0.0.0"  # noqa: S104 - the sender of a station without an address; nothing is bound
    match frame.kind:
        case FrameKind.DOUBLE:
            yield "dl_type=0x8100"  # the switch parses one tag: `vlan-limit` of ovs-vswitchd.conf.db(5)
        case FrameKind.ARP_SPOOFED:
            yield f"arp,arp_op=2,arp_sha={frame.source},arp_spa={sender}"
        case FrameKind.ADVERTISING:
            yield "icmp6,icmpv6_type=134,icmpv6_code=0"
        case FrameKind.SERVING:
            yield f"udp,nw_src={sender},udp_src=67,udp_dst=68"
        case _ if frame.target == BROADCAST:
            yield f"dl_type=0x0806,arp_op=1,arp_sha={frame.source},arp_spa={sender}"
        case _:
            yield f"dl_type=0x0800,nw_src={sender}"
