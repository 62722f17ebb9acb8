"""Frames in the switch's syntax, and traces as Open vSwitch 3.1 (netdev datapath) prints them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.spec.models.names import HostName
from reconciler.verify.frames import BROADCAST, UNUSED_MAC, Exit, Frame, FrameKind, Probe, arriving, read_exits

TRACES = Path(__file__).parent / "traces"
MAC = "52:54:00:03:ea:01"


@pytest.mark.parametrize(
    ("name", "vlan", "exits"),
    [
        ("broadcast", None, (Exit("br-int", 100), Exit("ens4", 100))),
        ("spoofed", None, ()),
        ("arriving", 120, (Exit("br-int", 120), Exit("seg120", None))),
        ("to-the-gateway", None, (Exit("br-int", 400), Exit("ens4", 400))),
    ],
)
def test_a_trace_says_where_a_frame_comes_out(name: str, vlan: int | None, exits: tuple[Exit, ...]) -> None:
    assert read_exits((TRACES / f"{name}.txt").read_text(), vlan) == exits


def test_ports_before_a_tag_is_pushed_get_the_frame_as_it_came() -> None:
    said = "Datapath actions: tap1-1,push_vlan(tpid=0x8100,vid=7,pcp=0),ens4,pop_vlan,tap2-1\n"
    assert read_exits(said, None) == (Exit("tap1-1", None), Exit("ens4", 7), Exit("tap2-1", None))


@pytest.mark.parametrize("said", ["", "Datapath actions: set(eth(dst=02:00:00:00:00:01)),ens4", "no such bridge"])
def test_an_action_that_cannot_be_followed_is_an_error(said: str) -> None:
    with pytest.raises(ValueError, match=r"trace without|cannot be followed"):
        read_exits(said, None)


def test_a_broadcast_is_an_arp_request_and_a_frame_to_a_known_station_is_ip() -> None:
    worker = HostName("worker1")
    asking = Probe("web", worker, "tap1-1", 2, Frame(FrameKind.BROADCAST, MAC, BROADCAST, "10.60.7.2"))
    start = f"in_port=2,dl_src={MAC}"
    assert asking.flow == f"{start},dl_dst={BROADCAST},dl_type=0x0806,arp_op=1,arp_sha={MAC},arp_spa=10.60.7.2"
    speaking = Probe("web", worker, "tap1-1", 2, Frame(FrameKind.UNKNOWN, MAC, UNUSED_MAC, vlan=5))
    assert speaking.flow == f"{start},dl_dst={UNUSED_MAC},dl_vlan=5,dl_type=0x0800,nw_src=0.0.0.0"


@pytest.mark.parametrize(
    ("kind", "target", "rest"),
    [
        (FrameKind.DOUBLE, BROADCAST, f"dl_dst={BROADCAST},dl_vlan=5,dl_type=0x8100"),
        (
            FrameKind.ARP_SPOOFED,
            UNUSED_MAC,
            f"dl_dst={UNUSED_MAC},dl_vlan=5,arp,arp_op=2,arp_sha={MAC},arp_spa=10.60.7.9",
        ),
        (FrameKind.ADVERTISING, UNUSED_MAC, f"dl_dst={UNUSED_MAC},dl_vlan=5,icmp6,icmpv6_type=134,icmpv6_code=0"),
        (FrameKind.SERVING, BROADCAST, f"dl_dst={BROADCAST},dl_vlan=5,udp,nw_src=10.60.7.9,udp_src=67,udp_dst=68"),
    ],
)
def test_forged_frames_are_written_as_the_switch_reads_them(kind: FrameKind, target: str, rest: str) -> None:
    asking = Probe("web", HostName("worker1"), "tap1-1", 2, Frame(kind, MAC, target, "10.60.7.9", 5))
    assert asking.flow == f"in_port=2,dl_src={MAC},{rest}"


def test_a_frame_that_crosses_a_trunk_keeps_the_tag_that_it_left_with() -> None:
    sent = Probe("web", HostName("worker1"), "tap1-1", 2, Frame(FrameKind.BROADCAST, MAC, BROADCAST))
    there = arriving(sent, HostName("worker2"), "ens4", 1, Exit("ens4", 100))
    assert there.flow.startswith(f"in_port=1,dl_src={MAC},dl_dst={BROADCAST},dl_vlan=100,")
    assert there.way == (
        "a broadcast from tap1-1 of worker1",
        "out of trunk ens4 of worker1 on VLAN 100, into worker2",
    )
