"""Defines the requirements of a host: a script that reads them, and the verdict on its output."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

from reconciler.apply.drivers.network import OVERLAP
from reconciler.apply.observation.listeners import OTHERS, local_address, program
from reconciler.apply.transport.command import Command, script
from reconciler.plan.resources import ROOT
from reconciler.plan.resources.uplink import gateway_interface
from reconciler.spec.models.cluster import PARKING_VLAN, Cluster
from reconciler.spec.models.names import HostName

LITTLE_SPACE: Final = 10 * 2**30
"""With fewer free bytes there is little room for images and disks: a warning."""

NO_SPACE: Final = 2**30
"""With fewer free bytes not even one small disk fits: a failure."""

MOST_SKEW: Final = 5.0
"""The largest difference of clocks in seconds; with more, logs of both machines cannot be read together."""

PACKAGES: Final = {
    "dnsmasq": "dnsmasq-base",
    "flock": "util-linux",
    "ip": "iproute2",
    "nft": "nftables",
    "ovs-appctl": "openvswitch-switch",
    "ovs-ofctl": "openvswitch-switch",
    "ovs-vsctl": "openvswitch-switch",
    "perl": "perl-base",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "sha256sum": "coreutils",
}
"""Each program that steps run, and the Debian 12 package that contains it."""

UNKNOWN_PROGRAM: Final = "an unknown program"

_EVERY_ADDRESS: Final = frozenset({"0.0.0.0:67", "*:67"})
"""Where a DHCP server listens that serves all interfaces."""

_EVERYWHERE: Final = ("flock", "ip", "ovs-appctl", "ovs-ofctl", "ovs-vsctl", "sha256sum")
_ON_WORKERS: Final = ("perl", "qemu-img", "qemu-system-x86_64")
_ON_THE_NODE: Final = ("dnsmasq", "nft")


class Verdict(StrEnum):
    """The verdict of one check. Only `fail` means that a host is not ready."""

    OK = "ok"
    INFO = "info"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: what was found, and what to do if that is not enough."""

    check: str
    verdict: Verdict
    found: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a host needs: `accelerator` and `images` (SHA-256 by name) of a worker, the rest of the network node.

    `internet` is the subnet of guests with internet, `gateway` the interface of its gateway, `dns` their DNS servers.
    `bandwidth` is whether NICs of its guests have a limit of it.
    """

    bridge: str
    trunk: str
    trunk_mtu: int
    programs: tuple[str, ...]
    accelerator: str | None
    images: Mapping[str, str]
    uplink: str | None
    internet: str = ""
    gateway: str = ""
    dns: tuple[str, ...] = ()
    bandwidth: bool = False


def requirements(cluster: Cluster, host: HostName) -> Requirements:
    """Return what a host of the cluster must have. A host that is worker and network node needs both."""
    works = any(worker.name == host for worker in cluster.workers)
    routes = cluster.network_node.name == host
    return Requirements(
        bridge=cluster.bridge.name,
        trunk=cluster.bridge.trunk,
        trunk_mtu=cluster.bridge.trunk_mtu,
        programs=(*_EVERYWHERE, *(_ON_WORKERS if works else ()), *(_ON_THE_NODE if routes else ())),
        accelerator=cluster.accelerator if works else None,
        images={name: image.sha256 for name, image in cluster.images.items()} if works else {},
        uplink=cluster.network_node.uplink if routes else None,
        internet=str(cluster.internet.subnet),
        gateway=gateway_interface(cluster.internet.vlan),
        dns=tuple(map(str, cluster.internet.dns)),
        bandwidth=works and cluster.limits.bandwidth is not None,
    )


# One line for each answer: a key and text. A failure has `no` and the program's message. The script changes nothing:
# rules are checked and not loaded, and the namespace ends with the shell that created it.
PROBE: Final = (
    OVERLAP
    + """
root=$1 bridge=$2 trunk=$3 uplink=$4 internet=$5 gateway=$6
shift 6
say() { printf '%s %s\\n' "$1" "$(printf %s "$2" | tr '\\n' ' ')"; }
ask() { key=$1; shift; if text=$("$@" 2>&1); then say "$key" "yes $text"; else say "$key" "no $text"; fi; }
"""
    + OTHERS
    + """
say clock "$(date +%s.%N)"
say user "$(id -u) $(id -un 2>&1 || :)"
for program do
    command -v "$program" > /dev/null || say missing "$program"
done
ask switch ovs-appctl -T 5 -t ovs-vswitchd version
ask bridge ovs-vsctl --timeout=5 list-ports "$bridge"
ask reserved ovs-vsctl --timeout=5 --if-exists get Bridge "$bridge" other_config:forward-bpdu
ask mode-of-failure ovs-vsctl --timeout=5 get-fail-mode "$bridge"
if [ -e "$root/flows/$bridge.lock" ]; then ask unkept flock -n "$root/flows/$bridge.lock" true; fi
ask holder ovs-vsctl --timeout=5 port-to-br "$trunk"
ask mode ovs-vsctl --timeout=5 --if-exists get Port "$trunk" tag vlan_mode trunks
ask opened ovs-vsctl --timeout=5 --if-exists get Interface "$trunk" error
if [ -e "/sys/class/net/$trunk/mtu" ]; then say mtu "$(cat "/sys/class/net/$trunk/mtu")"; fi
group=$(stat -c %g /dev/kvm 2> /dev/null || echo 0)
if [ "$group" = 0 ]; then groups=--clear-groups; else groups=--groups=$group; fi
ask kvm setpriv --reuid=65534 --regid=65534 "$groups" -- sh -c ': <>/dev/kvm'
say controllers "$(cat /sys/fs/cgroup/cgroup.controllers 2> /dev/null || :)"
ask tun sh -c ': <>/dev/net/tun'
ask namespace unshare --net true
ask tbf unshare --net tc qdisc add dev lo root tbf rate 1mbit burst 10k latency 1ms
ask nat nft --check --file - << 'END'
add table inet reconciler-fitness
add chain inet reconciler-fitness out { type nat hook postrouting priority srcnat; }
add rule inet reconciler-fitness out ct state new masquerade
END
if [ -n "$uplink" ]; then
    ask link ip -o link show dev "$uplink"
    ask route ip -o -4 route show default
    say overlap "$(overlap "$internet" "$gateway")"
    others dhcp -u 'sport = :67'
    say chains "$(nft -j list chains 2> /dev/null || :)"
    if grep -qsx filter /proc/net/ip_tables_names; then say legacy "$(iptables-legacy -S 2> /dev/null || :)"; fi
fi
others vnc -t 'sport >= :5901 and sport <= :5999'
place=$root
while ! [ -d "$place" ]; do
    place=${place%/*}
    place=${place:-/}
done
ask space df -B1 --output=avail -- "$place"
for sums in "$root"/images/*.qcow2.sha256; do
    image=${sums%.sha256}
    if [ -e "$image" ] && [ -e "$sums" ] && ! [ "$image" -nt "$sums" ]; then
        read -r sum size < "$sums" || :
        if [ "$(stat -c %s -- "$image")" = "$size" ]; then say image "$sum"; fi
    fi
done
"""
)


def probe(required: Requirements) -> Command:
    """Return the read-only command that reads all of it."""
    return script(
        PROBE,
        ROOT,
        required.bridge,
        required.trunk,
        required.uplink or "",
        required.internet,
        required.gateway,
        *required.programs,
    )


@dataclass(frozen=True, slots=True)
class ProbeOutput:
    """The output of the script: the text of every line, by key."""

    lines: Mapping[str, Sequence[str]]

    def all(self, key: str) -> Sequence[str]:
        """Return the text of every line with this key."""
        return self.lines.get(key, ())

    def one(self, key: str) -> tuple[bool, str]:
        """Return whether an attempt succeeded, and its output."""
        verdict, _, message = next(iter(self.all(key)), "no it printed nothing").partition(" ")
        return verdict == "yes", message.strip()


def parse(text: str) -> ProbeOutput:
    """Parse the output of the script."""
    lines: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, message = line.partition(" ")
        lines.setdefault(key, []).append(message)
    return ProbeOutput(lines)


def clock(probed: ProbeOutput) -> float | None:
    """Return the host's time in seconds since 1970, or None if it is missing."""
    try:
        return float(next(iter(probed.all("clock")), ""))
    except ValueError:
        return None


def lacking(required: Requirements, probed: ProbeOutput) -> frozenset[str]:
    """Return the names of images that the host does not have, or that changed since they were verified."""
    return frozenset(name for name, digest in required.images.items() if digest not in probed.all("image"))


def findings(required: Requirements, probed: ProbeOutput, skew: float | None) -> tuple[Finding, ...]:
    """Return the findings for a host. `skew` is the difference of its clock from ours in seconds, None if unknown."""
    return tuple(_judge(required, probed, skew))


def _judge(required: Requirements, probed: ProbeOutput, skew: float | None) -> Iterator[Finding]:
    yield _root(probed)
    yield _programs(required, probed)
    yield _switch(probed)
    yield _bridge(required, probed)
    yield _trunk(required, probed)
    yield from _mtu(required, probed)
    yield _reserved(required, probed)
    if required.accelerator is not None:
        yield _accelerator(required.accelerator, probed)
        yield _limits(probed)
        yield from _vnc(probed)
        yield _feature("taps", probed.one("tun"), "/dev/net/tun opens", "modprobe tun")
    if required.bandwidth:
        remedy = "modprobe sch_tbf; or leave out limits.bandwidth of the cluster file"
        yield _feature("bandwidth", probed.one("tbf"), "tc limits what goes to guests", remedy)
    if required.uplink is not None:
        yield _feature("namespaces", probed.one("namespace"), "can be created", "use a kernel with CONFIG_NET_NS")
        yield _feature("nat", probed.one("nat"), "nftables masquerades", "modprobe nft_chain_nat nft_masq nft_ct")
        yield _uplink(required.uplink, probed)
        yield _internet(required.internet, probed)
        yield from _guests(required, probed)
    yield _space(probed)
    yield _clock(skew)
    absent = lacking(required, probed)
    yield from (_image(name, there=name not in absent) for name in sorted(required.images))


def _reserved(required: Requirements, probed: ProbeOutput) -> Finding:
    """Say whether the bridge forwards what IEEE 802.1Q reserves for neighbours: 01:80:C2:00:00:00 to 0F."""
    what = "frames to reserved addresses (LLDP, LACP, STP, 802.1X)"
    if probed.one("reserved")[1].strip('"') == "true":
        return Finding("reserved", Verdict.OK, f"{required.bridge} forwards {what}")
    setting = "other_config:forward-bpdu is not true"
    return Finding("reserved", Verdict.INFO, f"{required.bridge} drops {what}: {setting}")


def _root(probed: ProbeOutput) -> Finding:
    number, _, name = next(iter(probed.all("user")), "? unknown").partition(" ")
    if number == "0":
        return Finding("root", Verdict.OK, "commands run as root")
    remedy = "set ssh.sudo: true in the cluster file, or log in as root"
    return Finding("root", Verdict.FAIL, f"commands run as {name}, not as root", remedy)


def _programs(required: Requirements, probed: ProbeOutput) -> Finding:
    missing = [program for program in required.programs if program in probed.all("missing")]
    if not missing:
        return Finding("programs", Verdict.OK, f"all {len(required.programs)} are installed")
    packages = " ".join(sorted({PACKAGES[program] for program in missing}))
    return Finding("programs", Verdict.FAIL, f"missing: {', '.join(missing)}", f"apt-get install {packages}")


def _switch(probed: ProbeOutput) -> Finding:
    runs, message = probed.one("switch")
    if runs:
        return Finding("open vswitch", Verdict.OK, f"version {message.rpartition(' ')[2]} runs")
    remedy = "apt-get install openvswitch-switch; systemctl start openvswitch-switch"
    return Finding("open vswitch", Verdict.FAIL, message or "ovs-vswitchd does not answer", remedy)


def _bridge(required: Requirements, probed: ProbeOutput) -> Finding:
    """Check the bridge: it exists, forwards nothing without flows, and gets them back when the switch restarts."""
    bridge = required.bridge
    result = partial(Finding, "bridge")
    secure = f"set-fail-mode {bridge} secure"
    exists, message = probed.one("bridge")
    if not exists:
        remedy = f"ovs-vsctl add-br {bridge} -- {secure}"
        return result(Verdict.FAIL, message or f"there is no {bridge}", remedy)
    mode = probed.one("mode-of-failure")[1]
    if mode != "secure":
        remedy = f"apply a slice with VMs on this host, which keeps its flows; or, where no VM runs: ovs-vsctl {secure}"
        return result(
            Verdict.FAIL, f"{bridge} has fail_mode {mode or '[]'}: it forwards all frames without flows", remedy
        )
    if probed.all("unkept") and probed.one("unkept")[0]:
        remedy = f"setsid -f sh {ROOT}/flows/keep watch {bridge} > /dev/null 2>&1"
        return result(Verdict.WARN, f"{bridge} fails closed, but would not get its flows back by itself", remedy)
    return result(Verdict.OK, f"{bridge} exists and fails closed")


def _trunk(required: Requirements, probed: ProbeOutput) -> Finding:
    """Check the trunk port: on the bridge, opened, and not limited to one VLAN (ovs-vswitchd.conf.db(5))."""
    port, bridge = required.trunk, required.bridge
    result = partial(Finding, "trunk")
    exists, holder = probed.one("holder")
    if not exists:
        remedy = f"ovs-vsctl add-port {bridge} {port} trunks={PARKING_VLAN}"
        return result(Verdict.FAIL, holder or f"there is no port {port}", remedy)
    if holder != bridge:
        remedy = "name the right port in the cluster file, under bridge: trunk"
        return result(Verdict.FAIL, f"{port} is on {holder}, not on {bridge}", remedy)
    error = probed.one("opened")[1].strip('[]"')
    if error:
        return result(Verdict.FAIL, f"{port} cannot be opened: {error}", f"see `ip link show {port}` on the host")
    tag, mode, trunks = _mode(probed.one("mode")[1])
    if mode not in {"", "trunk"} or (tag and not mode):
        remedy = f"ovs-vsctl clear Port {port} tag vlan_mode -- set Port {port} trunks={PARKING_VLAN}"
        return result(Verdict.FAIL, f"{port} is a port of VLAN {tag or '0'}, not a trunk", remedy)
    if not trunks:
        remedy = f"ovs-vsctl set Port {port} trunks={PARKING_VLAN}"
        return result(Verdict.WARN, f"{port} lists no VLANs, so it carries all of them", remedy)
    return result(Verdict.OK, f"{port} is on {bridge}, VLANs {trunks}")


def _mtu(required: Requirements, probed: ProbeOutput) -> Iterator[Finding]:
    """Check that the trunk carries the packets that links may have; without a trunk that is reported already."""
    port, needed = required.trunk, required.trunk_mtu
    for mtu in probed.all("mtu"):
        if mtu.isdecimal() and int(mtu) >= needed:
            yield Finding("mtu", Verdict.OK, f"{port} carries packets of {mtu} bytes")
        else:
            remedy = f"ip link set {port} mtu {needed}; or correct bridge.trunk_mtu in the cluster file"
            yield Finding("mtu", Verdict.FAIL, f"{port} has MTU {mtu}, and links need {needed}", remedy)


def _mode(message: str) -> tuple[str, str, str]:
    """Parse the columns tag, vlan_mode and trunks from ovs-vsctl; `[]` is an empty one."""
    first, _, rest = message.partition(" ")
    second, _, third = rest.partition(" ")
    return first.strip("[]"), second.strip("[]"), third.strip("[] ")


def _accelerator(accelerator: str, probed: ProbeOutput) -> Finding:
    if accelerator != "kvm":
        return Finding("accelerator", Verdict.OK, f"{accelerator} needs nothing on the host")
    usable, message = probed.one("kvm")
    if usable:
        return Finding("accelerator", Verdict.OK, "/dev/kvm opens for its group")
    if message.endswith("Permission denied"):
        remedy = "chgrp kvm /dev/kvm && chmod 660 /dev/kvm: QEMU is an ordinary user, in that group"
        return Finding("accelerator", Verdict.FAIL, message, remedy)
    remedy = "modprobe kvm_intel or kvm_amd, with virtualisation allowed in the firmware; or set accelerator: tcg"
    return Finding("accelerator", Verdict.FAIL, message, remedy)


def _limits(probed: ProbeOutput) -> Finding:
    """Note whether QEMU's processes are limited; VMs run without that too."""
    missing = sorted({"cpu", "memory", "pids"}.difference(" ".join(probed.all("controllers")).split()))
    if not missing:
        return Finding("limits", Verdict.OK, "cgroup v2 limits the CPU, memory and threads of each VM")
    found = f"no cgroup v2 with {', '.join(missing)}: what QEMU takes beside its flavor has no limit"
    return Finding("limits", Verdict.INFO, found)


def _feature(check: str, result: tuple[bool, str], fine: str, remedy: str) -> Finding:
    works, message = result
    return Finding(check, Verdict.OK, fine) if works else Finding(check, Verdict.FAIL, message, remedy)


def _uplink(uplink: str, probed: ProbeOutput) -> Finding:
    result = partial(Finding, "uplink")
    exists, message = probed.one("link")
    if not exists:
        return result(Verdict.FAIL, message, "name the interface to the internet in the cluster file, as uplink")
    flags = message.partition("<")[2].partition(">")[0].split(",")
    if not {"UP", "LOWER_UP"} <= {*flags}:
        return result(Verdict.FAIL, f"{uplink} is down", f"ip link set {uplink} up; and check its cable")
    routes = probed.one("route")[1]
    if f" dev {uplink} " not in f" {routes} ":
        found = f"no default route uses {uplink}" + (f"; found: {routes}" if routes else "")
        return result(Verdict.FAIL, found, f"ip route add default via GATEWAY dev {uplink}")
    return result(Verdict.OK, f"{uplink} is up with a default route")


def _internet(subnet: str, probed: ProbeOutput) -> Finding:
    """Check that no network of the node is in the subnet of guests: the node would send its packets to them."""
    route = next((line.strip() for line in probed.all("overlap") if line.strip()), "")
    if not route:
        return Finding("internet", Verdict.OK, f"{subnet} is free for guests")
    remedy = "choose another internet.subnet in the cluster file, a private network that nothing else uses"
    return Finding("internet", Verdict.FAIL, f"{subnet} overlaps a route of this host: {route}", remedy)


def _guests(required: Requirements, probed: ProbeOutput) -> Iterator[Finding]:
    """Check what breaks guests on the internet VLAN although the host looks fit."""
    everywhere = [line for line in probed.all("dhcp") if ":".join(local_address(line)) in _EVERY_ADDRESS]
    if everywhere:
        remedy = "end it, or let it serve named interfaces only (dnsmasq: interface=, bind-interfaces)"
        server = program(everywhere[0]) or UNKNOWN_PROGRAM
        yield Finding("dhcp", Verdict.FAIL, f"another program serves DHCP: {server}", remedy)
    else:
        yield Finding("dhcp", Verdict.OK, "no other program serves DHCP on all interfaces")
    gateway = required.gateway
    if closed := sorted(_closed_chains(probed)):
        remedy = (
            f"let these chains accept what comes from {gateway} and replies to it, for example: "
            f"iptables -I FORWARD -i {gateway} -j ACCEPT; "
            f"iptables -I FORWARD -o {gateway} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; "
            f"iptables -I INPUT -i {gateway} -j ACCEPT"
        )
        yield Finding("firewall", Verdict.WARN, f"drop what no rule accepts: {', '.join(closed)}", remedy)
    else:
        yield Finding("firewall", Verdict.OK, "no other rules drop packets of guests by default")
    if required.dns:
        yield Finding("resolver", Verdict.OK, f"guests ask {', '.join(required.dns)}")
    else:
        yield Finding("resolver", Verdict.INFO, "guests get no DNS server: internet.dns in the cluster file is empty")


def _closed_chains(probed: ProbeOutput) -> Iterator[str]:
    """Yield the chains for packets to and through this host that drop by default, other than ours."""
    for text in probed.all("chains"):
        try:
            items = json.loads(text or "{}").get("nftables", [])
        except ValueError:
            continue
        for chain in (item["chain"] for item in items if "chain" in item):
            own = str(chain.get("table", "")).startswith("reconciler")
            if chain.get("hook") in {"forward", "input"} and chain.get("policy") == "drop" and not own:
                yield f"{chain.get('family')} {chain.get('table')} {chain.get('name')}"
    for text in probed.all("legacy"):
        yield from (f"iptables-legacy {name}" for name in ("FORWARD", "INPUT") if f"-P {name} DROP" in text)


def _vnc(probed: ProbeOutput) -> Iterator[Finding]:
    taken = [f"{local_address(line)[1]} by {program(line) or UNKNOWN_PROGRAM}" for line in probed.all("vnc")]
    if taken:
        remedy = "new VMs get other ports; end these programs, or move them below 5901, if VMs should have these"
        yield Finding("vnc", Verdict.WARN, f"ports are taken: {', '.join(taken)}", remedy)


def _space(probed: ProbeOutput) -> Finding:
    known, message = probed.one("space")
    free = message.rpartition(" ")[2]
    if not known or not free.isdecimal():
        return Finding("space", Verdict.WARN, f"unknown: {message}", "see `df /var/lib` on the host")
    verdict = Verdict.FAIL if int(free) < NO_SPACE else Verdict.WARN if int(free) < LITTLE_SPACE else Verdict.OK
    remedy = None if verdict is Verdict.OK else "free some space, or mount a larger file system there"
    return Finding("space", verdict, f"{int(free) / 2**30:.1f} GiB free under {ROOT}", remedy)


def _clock(skew: float | None) -> Finding:
    if skew is None:
        return Finding("clock", Verdict.WARN, "the host did not report its time", "see `date` on the host")
    if skew > MOST_SKEW:
        found = f"{skew:.0f} s off the local clock"
        return Finding("clock", Verdict.WARN, found, "timedatectl set-ntp true, on the host or on this machine")
    return Finding("clock", Verdict.OK, f"within {MOST_SKEW:.0f} s of this machine's clock")


def _image(name: str, *, there: bool) -> Finding:
    found = "present and verified" if there else "not there yet; the first apply that needs it uploads it"
    return Finding(f"image {name}", Verdict.INFO, found)
