"""Capture the probe results of the cases: each state is brought about on a host of its own and probed there.

Run it as root, when a probe or a driver changes: `python -m tests.apply.drivers.capture [KIND/NAME ...]`, then
`pytest tests/apply/drivers --update-golden`, and read what changed. What nobody could capture, such as a switch that
prints nonsense, is in test_hostile.py.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.drivers.switch import cookie
from reconciler.plan.renames import Rename, renamed_entry
from reconciler.plan.resources import ROOT, Lease, Resource, Trunk, address, to_data
from reconciler.plan.snapshot import ResourceState
from reconciler.spec.models.names import BitRate, Bytes, SliceKey, VlanId, VmName
from tests.apply.drivers.realhost import RealHost, real_host
from tests.apply.drivers.sample import (
    BASE,
    DISK,
    GATEWAY_MAC,
    IMAGE,
    INTERNET_PORT,
    INTERNET_TRUNK,
    LINKED_PORT,
    PORTS,
    RESERVATION,
    ROUTER,
    SEED,
    SEGMENT,
    TRUNK,
    UNLINKED_PORT,
    UPLINK,
    VM,
)

R = TypeVar("R", bound=Resource)
CASES = Path(__file__).parent / "cases"


@dataclass(frozen=True, slots=True)
class State:
    """A state of a host: `made` are ensured in order, then the shell text `by_hand` is run, then `resource` probed.

    `end` is what an apply comes to: what the resource stands on may be missing, for the plan to make first.
    """

    name: str
    resource: Resource
    made: tuple[Resource, ...] = ()
    by_hand: str = ""
    before: Resource | None = None
    end: Literal["mended", "refused", "unmet"] = "mended"


_VMS = f"{ROOT}/vms/1001"
QMP_STOP = """perl -MSocket -e '
    socket(my $monitor, PF_UNIX, SOCK_STREAM, 0) or die "$!";
    connect($monitor, sockaddr_un($ARGV[0])) or die "$!";
    for (qw(qmp_capabilities stop)) {
        syswrite($monitor, "{\\"execute\\": \\"$_\\"}");
        sysread($monitor, my $said, 9999);
    }
    select(undef, undef, undef, 0.2);
'"""
_SEGMENT_FILE = f"{ROOT}/routers/slice-1000/conf.d/seg1.conf"
_CLIENTS = "inet reconciler_uplink clients"
_INSIDE = "ip netns exec slice-1000"
_HOSTS = f"{ROOT}/uplink/hosts.d"
_OTHERS = replace(TRUNK, address=address(Trunk, "bob/lab2@worker1"), slice="bob/lab2", vlans=(VlanId(120),))
_METERS = "ovs-ofctl -O OpenFlow13"
_FAST = "meter=32034,pktps,burst,band=type=drop,rate=9000,burst_size=9000"
_SLOW = "meter=128034,kbps,burst,band=type=drop,rate=1000,burst_size=1000"
_SHARE = f"{_METERS} add-flow br-int cookie={{:#x}},in_port=ens4,dl_vlan=100,actions=meter:32034,NORMAL"
_TBF = "tbf rate 1mbit burst 9k lat 1ms"
_SLOWER = replace(LINKED_PORT, bandwidth=BitRate(8_000_000))
_SLOWER_ONLINE = replace(INTERNET_PORT, bandwidth=BitRate(8_000_000))
_STOPPED = (DISK, *PORTS)
_RUNNING = (*_STOPPED, VM)
_LOOKALIKE = f"perl -e 'sleep 60' x -name guest=alice/lab1/web -pidfile {_VMS}/qemu.pid"
_ASIDE = "> /dev/null 2>&1 & sleep 0.2"
_TOLD = replace(VM, leases=(None, "192.168.100.2/24 via 192.168.100.1, MTU 1500"))
_SEEDED = (DISK, SEED, *PORTS)
_SEEDED_VM = replace(VM, cloud_init=SEED.cloud_init)

IMAGES = (
    State("fresh", IMAGE),
    State("right", IMAGE, (IMAGE,)),
    State(
        "claimed, upload never begun", IMAGE, by_hand=f"mkdir {ROOT}/images; echo {IMAGE.address} > {IMAGE.path}.owner"
    ),
    State("uploaded, not yet verified", IMAGE, (IMAGE,), f"rm {IMAGE.path}.sha256"),
    State("written to since it was verified", IMAGE, (IMAGE,), f"sleep 0.02; echo more >> {IMAGE.path}"),
    State(
        "shorter than when it was verified", IMAGE, (IMAGE,), f": > {IMAGE.path}; touch -d '1 hour ago' {IMAGE.path}"
    ),
    State("foreign, without a tag", IMAGE, by_hand=f"mkdir {ROOT}/images; echo theirs > {IMAGE.path}", end="refused"),
    State(
        "foreign, with another's tag", IMAGE, (IMAGE,), f"echo image/worker1/debian > {IMAGE.path}.owner", end="refused"
    ),
    State(
        "owner file holds a terminal's escapes",
        IMAGE,
        (IMAGE,),
        f"printf '\\033[2J%s' x > {IMAGE.path}.owner",
        end="refused",
    ),
)
DISKS = (
    State("fresh", DISK),
    State("right", DISK, (DISK,)),
    State("creation cut short", DISK, (DISK,), f"mv {DISK.path} {DISK.path}.partial"),
    State("only the owner file is left", DISK, (DISK,), f"rm {DISK.path}"),
    State("of another image", replace(DISK, backing=f"{ROOT}/images/other.qcow2"), (DISK,), end="refused"),
    State("of a smaller size", replace(DISK, size=Bytes(2**30)), (DISK,)),
    State("of a smaller size, and its VM runs", replace(DISK, size=Bytes(2**30)), _RUNNING),
    State("of a larger size", replace(DISK, size=Bytes(2**20)), (DISK,), end="refused"),
    State("foreign, without a tag", DISK, by_hand=f"mkdir -p {_VMS}; touch {DISK.path}", end="refused"),
    State("foreign, with another's tag", DISK, (DISK,), f"echo disk/bob/lab2/web > {DISK.path}.owner", end="refused"),
    State(
        "owner file with a size that is none",
        DISK,
        (DISK,),
        f"printf '%s\\nx\\n0x10\\n' {DISK.address} > {DISK.path}.owner",
        end="refused",
    ),
)
SEEDS = (
    State("fresh", SEED),
    State("right", SEED, (SEED,)),
    State("of other user-data", replace(SEED, cloud_init="f" * 20), (SEED,), before=SEED),
    State("with fewer NICs", SEED, (replace(SEED, macs=SEED.macs[:1]),), before=replace(SEED, macs=SEED.macs[:1])),
    State("of an earlier version", SEED, (SEED,), f"sed -i 4d {SEED.path}.owner", before=replace(SEED, macs=())),
    State("written to by hand", SEED, (SEED,), f"echo more >> {SEED.path}"),
    State("to be read by everybody", SEED, (SEED,), f"chmod 644 {SEED.path}"),
    State("deleted by hand", SEED, (SEED,), f"rm {SEED.path}"),
    State("upload cut short", SEED, by_hand=f"mkdir -p {_VMS}; echo part > {SEED.path}.new.partial.x1"),
    State("uploaded, not yet in its place", SEED, (SEED,), f"mv {SEED.path} {SEED.path}.new"),
    State("foreign, without a tag", SEED, by_hand=f"mkdir -p {_VMS}; echo theirs > {SEED.path}", end="refused"),
    State("foreign, with another's tag", SEED, (SEED,), f"echo seed/bob/lab2/web > {SEED.path}.owner", end="refused"),
)
PORT_STATES = (
    State("linked, fresh", LINKED_PORT),
    State("linked, right", LINKED_PORT, (LINKED_PORT,)),
    State("unlinked, fresh", UNLINKED_PORT),
    State("unlinked, right", UNLINKED_PORT, (UNLINKED_PORT,)),
    State("internet, fresh", INTERNET_PORT),
    State("internet, right", INTERNET_PORT, (INTERNET_PORT,)),
    State(
        "TAP made, not yet tagged",
        LINKED_PORT,
        by_hand=f"mkdir {ROOT}/claims; echo {LINKED_PORT.address} > {ROOT}/claims/tap1001-1; "
        "ip tuntap add tap1001-1 mode tap",
    ),
    State(
        "claimed, TAP not yet made",
        LINKED_PORT,
        by_hand=f"mkdir {ROOT}/claims; echo {LINKED_PORT.address} > {ROOT}/claims/tap1001-1",
    ),
    State("TAP without a port", LINKED_PORT, (replace(LINKED_PORT, vlan=None, broadcast=None),)),
    State("port without flows", LINKED_PORT, (LINKED_PORT,), "ovs-ofctl del-flows br-int in_port=tap1001-1"),
    State(
        "one flow removed by hand",
        INTERNET_PORT,
        (INTERNET_PORT,),
        "ovs-ofctl --strict del-flows br-int priority=190,in_port=tap1001-0",
    ),
    State("VLAN changed by hand", LINKED_PORT, (LINKED_PORT,), "ovs-vsctl set Port tap1001-1 tag=200"),
    State(
        "made a trunk by hand",
        LINKED_PORT,
        (LINKED_PORT,),
        "ovs-vsctl set Port tap1001-1 vlan_mode=trunk tag=[] trunks=100,101",
    ),
    State(
        "no longer apart from its neighbours",
        INTERNET_PORT,
        (INTERNET_PORT,),
        "ovs-vsctl set Port tap1001-0 protected=false",
    ),
    State("taken off the bridge by hand", LINKED_PORT, (LINKED_PORT,), "ovs-vsctl del-port tap1001-1"),
    State(
        "moved to another bridge by hand",
        LINKED_PORT,
        (LINKED_PORT,),
        (
            "ovs-vsctl add-br br-two -- set bridge br-two datapath_type=netdev -- del-port tap1001-1 "
            "-- add-port br-two tap1001-1 -- set Port tap1001-1 'external_ids:reconciler=\"port/alice/lab1/web:eth1\"'"
        ),
    ),
    State("TAP deleted by hand", LINKED_PORT, (LINKED_PORT,), "ip link delete tap1001-1; sleep 0.3"),
    State("TAP down, with another MTU", LINKED_PORT, (LINKED_PORT,), "ip link set tap1001-1 down mtu 1400"),
    State("to be unlinked", replace(LINKED_PORT, vlan=None, broadcast=None), (LINKED_PORT,), before=LINKED_PORT),
    State("to be on another VLAN", replace(LINKED_PORT, vlan=VlanId(101)), (LINKED_PORT,), before=LINKED_PORT),
    State(
        "to be on the internet",
        INTERNET_PORT,
        (replace(INTERNET_PORT, vlan=None, gateway_mac=None, ip=None, broadcast=None),),
    ),
    State("to have another address", INTERNET_PORT, (replace(INTERNET_PORT, ip="10.60.7.66"),)),
    State(
        "allowed one address more by hand",
        INTERNET_PORT,
        (INTERNET_PORT,),
        f"ovs-ofctl add-flow br-int cookie={cookie(INTERNET_PORT.tap):#x},priority=200,in_port=tap1001-0,"
        f"vlan_tci=0/0x1fff,dl_src={INTERNET_PORT.mac},dl_dst={GATEWAY_MAC},ip,nw_src=10.60.7.66,actions=NORMAL",
    ),
    State(
        "to leave the internet for a link",
        replace(INTERNET_PORT, vlan=VlanId(100), gateway_mac=None, ip=None),
        (INTERNET_PORT,),
    ),
    State("without a limit", replace(LINKED_PORT, broadcast=None), (LINKED_PORT,), before=LINKED_PORT),
    State("with another limit", replace(INTERNET_PORT, broadcast=50), (INTERNET_PORT,), before=INTERNET_PORT),
    State(
        "of an earlier version",
        LINKED_PORT,
        (replace(LINKED_PORT, broadcast=None),),
        f"sed -i '/dump-meters/d' {ROOT}/flows/keep",
    ),
    State("limit changed by hand", LINKED_PORT, (LINKED_PORT,), f"{_METERS} mod-meter br-int {_FAST}"),
    State("meter deleted by hand", INTERNET_PORT, (INTERNET_PORT,), f"{_METERS} del-meter br-int meter=32033"),
    State("meter shared", LINKED_PORT, (LINKED_PORT,), _SHARE.format(cookie("") & 0xFFFF << 48)),
    State("meter taken", LINKED_PORT, by_hand=f"{_METERS} add-meter br-int {_FAST}; {_SHARE.format(cookie('tap'))}"),
    State("slowed, fresh", _SLOWER),
    State("slowed, right", _SLOWER, (_SLOWER,)),
    State("slowed, on the internet", _SLOWER_ONLINE, (_SLOWER_ONLINE,)),
    State("slowed, without another limit", replace(_SLOWER, broadcast=None), (_SLOWER,), before=_SLOWER),
    State("to be slowed", _SLOWER, (LINKED_PORT,), before=LINKED_PORT),
    State("to be slowed less", replace(_SLOWER_ONLINE, bandwidth=BitRate(16_000_000)), (_SLOWER_ONLINE,)),
    State("no longer slowed", LINKED_PORT, (_SLOWER,), before=_SLOWER),
    State("no longer slowed, nor linked", replace(LINKED_PORT, vlan=None, broadcast=None), (_SLOWER,), before=_SLOWER),
    State("filter deleted by hand", _SLOWER, (_SLOWER,), "tc qdisc del dev tap1001-1 root"),
    State("filter changed by hand", _SLOWER, (_SLOWER,), f"tc qdisc change dev tap1001-1 root {_TBF}"),
    State("filter not kept by the switch", _SLOWER, (_SLOWER,), "ovs-vsctl clear Port tap1001-1 qos"),
    State("filter left behind", LINKED_PORT, (LINKED_PORT,), f"tc qdisc add dev tap1001-1 root handle 7263: {_TBF}"),
    State("filter of somebody else", LINKED_PORT, (LINKED_PORT,), f"tc qdisc add dev tap1001-1 root {_TBF}"),
    State("bandwidth changed by hand", _SLOWER, (_SLOWER,), f"{_METERS} mod-meter br-int {_SLOW}"),
    State("of a version without bandwidths", LINKED_PORT, (LINKED_PORT,), f"sed -i 's/|kbps//' {ROOT}/flows/keep"),
    State("bandwidth not kept", _SLOWER, (LINKED_PORT,), f"sed -i 's/|kbps//' {ROOT}/flows/keep"),
    State("slowed, taken off the bridge", _SLOWER, (_SLOWER,), "ovs-vsctl del-port tap1001-1"),
    State("slowed, TAP deleted", _SLOWER, (_SLOWER,), "ip link delete tap1001-1; sleep 0.3"),
    State("foreign TAP", LINKED_PORT, by_hand="ip tuntap add tap1001-1 mode tap", end="refused"),
    State(
        "foreign interface of another kind",
        LINKED_PORT,
        by_hand="ip link add tap1001-1 type veth peer name other",
        end="refused",
    ),
    State(
        "TAP of another VM",
        LINKED_PORT,
        (replace(LINKED_PORT, address=INTERNET_PORT.address, vlan=None, broadcast=None),),
        end="refused",
    ),
    State(
        "foreign port on the switch",
        LINKED_PORT,
        (replace(LINKED_PORT, vlan=None, broadcast=None),),
        "ovs-vsctl add-port br-int tap1001-1",
        end="refused",
    ),
)
VMS = (
    State("fresh", VM, _STOPPED),
    State("right", VM, _RUNNING),
    State("with more memory and processors", replace(VM, memory=Bytes(128 * 2**20), vcpus=2), _RUNNING, before=VM),
    State("with one card fewer", replace(VM, nics=VM.nics[:2]), _RUNNING, before=VM),
    State("on another VNC port", replace(VM, vnc=5907), _RUNNING, before=VM),
    State("killed", VM, _RUNNING, f"kill -9 $(cat {_VMS}/qemu.pid); sleep 0.3"),
    State("pidfile names a process that is none of ours", VM, _STOPPED, f"echo 1 > {_VMS}/qemu.pid"),
    State("pidfile holds no number", VM, _STOPPED, f"echo '1; reboot' > {_VMS}/qemu.pid"),
    State(
        "another guest runs from the directory",
        VM,
        (*_RUNNING[:-1], replace(VM, address=address(type(VM), "bob/lab2/web"))),
        end="refused",
    ),
    State("start cut short", VM, _STOPPED, f"mkfifo {_VMS}/serial.pipe"),
    State("paused", VM, _RUNNING, f"{QMP_STOP} {_VMS}/qmp.sock"),
    State("on a link with another subnet", _TOLD, _RUNNING, before=replace(_TOLD, leases=(None, "10.44.0.2/24"))),
    State("pidfile lost", VM, _RUNNING, f"rm {_VMS}/qemu.pid"),
    State("pidfile names another and it still runs", VM, _RUNNING, f"echo 1 > {_VMS}/qemu.pid"),
    State("directory deleted by hand and it still runs", VM, _RUNNING, f"rm -r {_VMS}", end="unmet"),
    State("all but the disk deleted by hand", VM, _RUNNING, f"find {_VMS} ! -type d ! -name 'web_img*' -delete"),
    State("running twice", VM, _RUNNING, f"{_LOOKALIKE} {_ASIDE}"),
    State("another user's process looks like it", VM, _STOPPED, f"setpriv --reuid=65534 {_LOOKALIKE} {_ASIDE}"),
    State("a container's process looks like it", VM, _STOPPED, f'unshare --pid --fork sh -c "{_LOOKALIKE}" {_ASIDE}'),
    State("with a seed, right", _SEEDED_VM, (*_SEEDED, _SEEDED_VM)),
    State("to have a seed", _SEEDED_VM, (*_SEEDED, VM), before=VM),
    State("to have no seed", VM, (*_SEEDED, _SEEDED_VM), before=_SEEDED_VM),
    State(
        "to have other user-data",
        replace(_SEEDED_VM, cloud_init="f" * 20),
        (*_SEEDED, _SEEDED_VM),
        before=_SEEDED_VM,
    ),
    State("many cards", replace(VM, nics=VM.nics * 9), (), end="unmet"),
)
ROUTERS = (
    State("fresh", ROUTER),
    State("right", ROUTER, (ROUTER,)),
    State("right, serving a segment", ROUTER, (ROUTER, SEGMENT)),
    State("namespace gone", ROUTER, (ROUTER,), "ip netns delete slice-1000"),
    State("name without a namespace", ROUTER, (ROUTER,), "ip netns delete slice-1000; touch /run/netns/slice-1000"),
    State("rules changed by hand", ROUTER, (ROUTER,), f"{_INSIDE} nft add rule inet reconciler forward accept"),
    State("rules gone", ROUTER, (ROUTER,), f"{_INSIDE} nft flush ruleset"),
    State("forwarding off", ROUTER, (ROUTER,), f"{_INSIDE} sysctl -qw net.ipv4.ip_forward=0"),
    State(
        "DHCP server killed",
        ROUTER,
        (ROUTER, SEGMENT),
        f"kill -9 $(cat {ROOT}/routers/slice-1000/dnsmasq.pid); sleep 0.1",
    ),
    State(
        "all deleted by hand but its DHCP server",
        ROUTER,
        (ROUTER, SEGMENT),
        f"ip netns delete slice-1000; rm -r {ROOT}/routers/slice-1000",
    ),
    State(
        "DHCP server configured by an earlier version",
        ROUTER,
        (ROUTER, SEGMENT),
        f"sed -i /dhcp-ignore-clid/d {ROOT}/routers/slice-1000/dnsmasq.conf",
    ),
    State(
        "rules of an earlier version",
        ROUTER,
        (ROUTER, SEGMENT),
        f"{_INSIDE} nft flush chain inet reconciler input; {_INSIDE} nft delete set inet reconciler clients; "
        f"{_INSIDE} nft add rule inet reconciler input udp dport 67 accept; "
        f"{_INSIDE} nft --stateless --terse list table inet reconciler > {ROOT}/rules; "
        f"(echo ip_forward 1; cat {ROOT}/rules) > {ROOT}/routers/slice-1000/ruleset",
    ),
    State("foreign namespace", ROUTER, by_hand="ip netns add slice-1000", end="refused"),
    State("another's namespace", ROUTER, (replace(ROUTER, address=address(type(ROUTER), "bob/lab2")),), end="refused"),
)
SEGMENTS = (
    State("fresh", SEGMENT, (ROUTER,)),
    State("right", SEGMENT, (ROUTER, SEGMENT)),
    State(
        "port made, not yet moved",
        SEGMENT,
        (ROUTER,),
        (
            "ovs-vsctl add-port br-int seg1 tag=100 vlan_mode=access -- set Interface seg1 type=internal "
            f"-- set Port seg1 'external_ids:reconciler=\"{SEGMENT.address}\"'"
        ),
    ),
    State("moved, without an address", SEGMENT, (ROUTER, SEGMENT), f"{_INSIDE} ip address flush dev seg1"),
    State("with an address too many", SEGMENT, (ROUTER, SEGMENT), f"{_INSIDE} ip address add 10.9.9.9/24 dev seg1"),
    State("VLAN changed by hand", SEGMENT, (ROUTER, SEGMENT), "ovs-vsctl set Port seg1 tag=7"),
    State("interface deleted by hand", SEGMENT, (ROUTER, SEGMENT), f"{_INSIDE} ip link delete seg1; sleep 0.2"),
    State(
        "no longer among the gateways", SEGMENT, (ROUTER, SEGMENT), f"{_INSIDE} nft flush set inet reconciler gateways"
    ),
    State(
        "leases changed by hand", SEGMENT, (ROUTER, SEGMENT), f"sed -i s/192.168.100.10/192.168.100.66/ {_SEGMENT_FILE}"
    ),
    State(
        "options changed by hand", SEGMENT, (ROUTER, SEGMENT), f"echo dhcp-option=3,192.168.100.9 >> {_SEGMENT_FILE}"
    ),
    State(
        "a NIC no longer among the clients",
        SEGMENT,
        (ROUTER, SEGMENT),
        f"{_INSIDE} nft 'delete element inet reconciler clients {{ seg1 . 52:54:00:00:03:ea . 0x5254000003ea }}'",
    ),
    State(
        "a stranger among the clients",
        SEGMENT,
        (ROUTER, SEGMENT),
        f"{_INSIDE} nft 'add element inet reconciler clients {{ seg1 . 52:54:00:00:0b:ad . 0x525400000bad }}'",
    ),
    State(
        "with one lease more",
        replace(
            SEGMENT, leases=(*SEGMENT.leases, Lease("52:54:00:00:04:01", "192.168.100.12", "new", default_route=True))
        ),
        (ROUTER, SEGMENT),
        before=SEGMENT,
    ),
    State("to be no gateway", replace(SEGMENT, gateway=False), (ROUTER, SEGMENT), before=SEGMENT),
    State("to be without DHCP", replace(SEGMENT, dhcp=False), (ROUTER, SEGMENT), before=SEGMENT),
    State("without DHCP, right", replace(SEGMENT, dhcp=False), (ROUTER, replace(SEGMENT, dhcp=False))),
    State("to be of another MTU", replace(SEGMENT, mtu=1400), (ROUTER, SEGMENT), before=SEGMENT),
    State("router gone", SEGMENT, (ROUTER, SEGMENT), "ip netns delete slice-1000; sleep 0.2", end="unmet"),
    State(
        "foreign port",
        SEGMENT,
        (ROUTER,),
        "ovs-vsctl add-port br-int seg1 -- set Interface seg1 type=internal",
        end="refused",
    ),
    State("foreign interface", SEGMENT, (ROUTER,), "ip link add seg1 type veth peer name other", end="refused"),
    State(
        "foreign interface in the router",
        SEGMENT,
        (ROUTER,),
        f"{_INSIDE} ip link add seg1 type veth peer name other",
        end="refused",
    ),
)
TRUNKS = (
    State("fresh", TRUNK),
    State("right", TRUNK, (TRUNK,)),
    State("right, beside another's", TRUNK, (_OTHERS, TRUNK)),
    State("with one VLAN more", replace(TRUNK, vlans=(*TRUNK.vlans, VlanId(102))), (TRUNK,), before=TRUNK),
    State("with one VLAN fewer", replace(TRUNK, vlans=TRUNK.vlans[:1]), (_OTHERS, TRUNK), before=TRUNK),
    State("VLAN taken off by hand", TRUNK, (TRUNK,), "ovs-vsctl remove Port ens4 trunks 101"),
    State(
        "tag removed by hand, VLAN given up",
        replace(TRUNK, vlans=TRUNK.vlans[:1]),
        (TRUNK,),
        "ovs-vsctl remove Port ens4 external_ids reconciler-vlan-101",
        before=TRUNK,
    ),
    State("trunk that carries every VLAN", TRUNK, by_hand="ovs-vsctl clear Port ens4 trunks"),
    State("parking VLAN taken off by hand", TRUNK, (TRUNK,), "ovs-vsctl remove Port ens4 trunks 4094"),
    State("internet, fresh", INTERNET_TRUNK),
    State("internet, right", INTERNET_TRUNK, (INTERNET_TRUNK,)),
    State(
        "internet, flow removed by hand",
        INTERNET_TRUNK,
        (INTERNET_TRUNK,),
        "ovs-ofctl --strict del-flows br-int priority=140,in_port=ens4,dl_vlan=400",
    ),
    State(
        "internet, another gateway",
        replace(INTERNET_TRUNK, gateway_mac="52:54:00:60:07:99"),
        (INTERNET_TRUNK,),
        before=INTERNET_TRUNK,
    ),
    State("foreign VLAN", TRUNK, by_hand="ovs-vsctl add Port ens4 trunks 100", end="refused"),
    State("another's VLAN", replace(TRUNK, vlans=(VlanId(120),)), (_OTHERS,), end="refused"),
    State("no trunk port", TRUNK, by_hand="ovs-vsctl del-port ens4"),
)
UPLINKS = (
    State("fresh", UPLINK),
    State("right", UPLINK, (UPLINK,)),
    State(
        "port made, nothing else",
        UPLINK,
        by_hand=(
            "ovs-vsctl add-port br-int internet tag=400 vlan_mode=access -- set Interface internet type=internal "
            f"'mac=\"{GATEWAY_MAC}\"' -- set Port internet 'external_ids:reconciler=\"{UPLINK.address}\"'"
        ),
    ),
    State("rules gone", UPLINK, (UPLINK,), "nft flush ruleset"),
    State("rules changed by hand", UPLINK, (UPLINK,), "nft insert rule inet reconciler_uplink forward accept"),
    State("forwarding off", UPLINK, (UPLINK,), "sysctl -qw net.ipv4.conf.ens5.forwarding=0"),
    State("address removed by hand", UPLINK, (UPLINK,), "ip address flush dev internet"),
    State("DHCP server killed", UPLINK, (UPLINK,), f"kill -9 $(cat {ROOT}/uplink/dnsmasq.pid); sleep 0.1"),
    State("to have other DNS servers", replace(UPLINK, dns=("1.1.1.1", "9.9.9.9")), (UPLINK,), before=UPLINK),
    State(
        "to open a private network",
        replace(UPLINK, allow_private=("10.1.0.0/16",)),
        (UPLINK,),
        before=UPLINK,
    ),
    State("to have another limit of connections", replace(UPLINK, connections=None), (UPLINK,), before=UPLINK),
    State("of an earlier version", UPLINK, (UPLINK,), f"sed -i 5d {ROOT}/uplink/owner"),
    State(
        "of a version that served guests for each other",
        UPLINK,
        (UPLINK, RESERVATION),
        f"sed -i '5s/, \"clients\".*}}/}}/' {ROOT}/uplink/owner",
    ),
    State("to go out elsewhere", replace(UPLINK, uplink="ens4"), (UPLINK,), before=UPLINK),
    State("on a host that forwarded before", UPLINK, by_hand="sysctl -qw net.ipv4.conf.ens5.forwarding=1"),
    State(
        "foreign port",
        UPLINK,
        by_hand="ovs-vsctl add-port br-int internet -- set Interface internet type=internal",
        end="refused",
    ),
    State("interface deleted by hand", UPLINK, (UPLINK,), "ip link delete internet; sleep 0.2"),
    State("foreign interface", UPLINK, by_hand="ip link add internet type veth peer name other", end="refused"),
    State(
        "another's gateway",
        UPLINK,
        by_hand=f"mkdir {ROOT}/uplink; echo uplink/other > {ROOT}/uplink/owner",
        end="refused",
    ),
)
RESERVATIONS = (
    State("fresh", RESERVATION, (UPLINK,)),
    State("right", RESERVATION, (UPLINK, RESERVATION)),
    State("another address in the file", RESERVATION, (UPLINK, RESERVATION), f"sed -i s/7.10/7.66/ {_HOSTS}/*"),
    State(
        "file cut short",
        RESERVATION,
        (UPLINK, RESERVATION),
        f"for one in {_HOSTS}/*; do echo '# {RESERVATION.address}' > $one; done",
    ),
    State("no longer among the clients", RESERVATION, (UPLINK, RESERVATION), f"nft flush set {_CLIENTS}"),
    State("another's", RESERVATION, (UPLINK, RESERVATION), f"sed -i s/alice/mallory/ {_HOSTS}/*", end="refused"),
    State("foreign", RESERVATION, (UPLINK, RESERVATION), f"sed -i 1d {_HOSTS}/*", end="refused"),
    State("no gateway yet", RESERVATION, end="unmet"),
)
_RENAME = Rename(SliceKey("alice/lab1"), SliceKey("alice/lab9"), ((VmName("web"), VmName("www")),))


def _renamed(resource: R) -> R:
    """Return a resource as the state has it after its slice and its VM were renamed."""
    now = renamed_entry(ResourceState(resource), _RENAME).resource
    assert isinstance(now, type(resource))
    return now


_NAMED_SEED = replace(_renamed(SEED), hostname="www")
_NAMED_RESERVATION = replace(_renamed(RESERVATION), hostname="www")
_TWICE = renamed_entry(ResourceState(_renamed(VM)), Rename(SliceKey("alice/lab9"), SliceKey("bob/lab1"))).resource
_GONE = f"pid=$(cat {_VMS}/qemu.pid); kill $pid; while [ -e /proc/$pid ]; do sleep 0.1; done"
RENAMED = (
    State("renamed", _renamed(DISK), (DISK,)),
    State("renamed, half-made", _renamed(DISK), (DISK,), f"mv {DISK.path} {DISK.path}.partial"),
    State("renamed, and foreign", _renamed(DISK), (DISK,), f"echo disk/x/y/z > {DISK.path}.owner", end="refused"),
    State("renamed", _NAMED_SEED, (SEED,), before=_renamed(SEED)),
    State("only its slice renamed", _renamed(SEED), (SEED,), before=_renamed(SEED)),
    State("linked, renamed", _renamed(LINKED_PORT), (LINKED_PORT,)),
    State("unlinked, renamed", _renamed(UNLINKED_PORT), (UNLINKED_PORT,)),
    State("internet, renamed", _renamed(INTERNET_PORT), (INTERNET_PORT,)),
    State("renamed", _renamed(VM), _RUNNING),
    State("renamed twice", _TWICE, (*_RUNNING, _renamed(VM))),
    State("renamed, and paused", _renamed(VM), _RUNNING, f"{QMP_STOP} {_VMS}/qmp.sock"),
    State("renamed, then killed", _renamed(VM), (*_RUNNING, _renamed(VM)), _GONE),
    State("renamed", _renamed(ROUTER), (ROUTER, SEGMENT)),
    State("renamed", _renamed(SEGMENT), (ROUTER, SEGMENT)),
    State("renamed", _renamed(TRUNK), (TRUNK,)),
    State("renamed, beside another's", _renamed(TRUNK), (_OTHERS, TRUNK)),
    State("renamed", _NAMED_RESERVATION, (UPLINK, RESERVATION), before=_renamed(RESERVATION)),
)
STATES = (
    *(*IMAGES, *DISKS, *SEEDS, *PORT_STATES, *VMS, *ROUTERS, *SEGMENTS, *TRUNKS, *UPLINKS, *RESERVATIONS),
    *RENAMED,
)


def path_of(state: State) -> Path:
    """Return where the case of a state stands."""
    slug = "".join(letter if letter.isalnum() else " " for letter in state.name.lower()).split()
    return CASES / state.resource.kind / f"{'-'.join(slug)}.json"


def capture(state: State) -> None:
    """Bring a state about, probe it, and write the case with nothing expected yet."""
    driver = DRIVERS[state.resource.kind]
    with real_host() as host:
        bring_about(host, state)
        results = [host.run(command) for command in driver.probe([state.resource])]
    case = {
        "about": f"{state.resource.kind}: {state.name}",
        "before": to_data(state.before) if state.before else None,
        "resource": to_data(state.resource),
        "results": [{"status": one.status, "output": one.output.split("\n")} for one in results],
    }
    path = path_of(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(case, indent=2) + "\n")


def bring_about(host: RealHost, state: State) -> None:
    """Bring a state about on a fresh host."""
    (host.uploads / "base").write_bytes(BASE)
    on_image = any(one.kind == DISK.kind for one in (state.resource, *state.made))
    for one in (*([IMAGE] if on_image else []), *state.made):
        driver = DRIVERS[one.kind]
        fact = host.probe(driver, [one])[one.address]
        host.perform(driver.ensure(one, fact, None))
    host.sh(state.by_hand)


def main(names: list[str]) -> None:
    """Capture the cases whose path holds one of these, or all."""
    wanted = [one for one in STATES if not names or any(f"/{name}" in str(path_of(one)) for name in names)]
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(capture, wanted):
            print(".", end="", flush=True)  # noqa: T201 - a program for people
    print(f" {len(wanted)} captured")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
