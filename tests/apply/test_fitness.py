from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.apply.observation.fitness import (
    LITTLE_SPACE,
    MOST_SKEW,
    NO_SPACE,
    PACKAGES,
    Finding,
    ProbeOutput,
    Requirements,
    Verdict,
    clock,
    findings,
    lacking,
    parse,
    probe,
    requirements,
)
from reconciler.spec.load import load_cluster
from reconciler.spec.models.names import HostName
from reconciler.trees import DISK
from tests.apply.drivers.realhost import real_host

DIGEST = "c" * 64
DROPPING = {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"}
WORKER = Requirements(
    "br-int", "ens4", 1500, ("ip", "qemu-img"), "kvm", {"cirros": DIGEST, "ubuntu": "d" * 64}, None, bandwidth=True
)
NODE = Requirements("br-int", "ens4", 1500, ("ip", "nft"), None, {}, "ens3", "10.60.7.0/24", "inet400", ("9.9.9.9",))
FINE = f"""\
clock 1700000000.500000000
user 0 root
switch yes ovs-vswitchd (Open vSwitch) 3.1.0
bridge yes ens4 tap1001-1
mode-of-failure yes secure
unkept no
holder yes br-int
mode yes [] [] [100, 4094]
opened yes []
mtu 1500
kvm yes
controllers cpuset cpu io memory hugetlb pids rdma misc
tun yes
namespace yes
tbf yes
nat yes
link yes 3: ens3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP
route yes default via 203.0.113.1 dev ens3
overlap
chains {{"nftables": [{{"chain": {{"table": "reconciler_uplink", "hook": "forward", "policy": "drop"}}}}]}}
space yes      Avail {LITTLE_SPACE}
image {DIGEST}
"""


def judged(required: Requirements, text: str, check: str, skew: float | None = 0.0) -> Finding:
    return judged_of(required, parse(text), check, skew)


def judged_of(required: Requirements, probed: ProbeOutput, check: str, skew: float | None = 0.0) -> Finding:
    (found,) = [finding for finding in findings(required, probed, skew) if finding.check == check]
    return found


@pytest.mark.parametrize("required", [WORKER, NODE], ids=["worker", "network node"])
def test_a_fit_host_has_nothing_to_be_done(required: Requirements) -> None:
    found = findings(required, parse(FINE), 0.0)
    assert {finding.verdict for finding in found} <= {Verdict.OK, Verdict.INFO}
    assert [finding.remedy for finding in found] == [None] * len(found)


@pytest.mark.parametrize(
    ("controllers", "missing"),
    [("", "cpu, memory, pids"), ("cpuset cpu io pids", "memory"), (None, "cpu, memory, pids")],
)
def test_a_worker_without_cgroups_is_fit_and_noted(controllers: str | None, missing: str) -> None:
    line = "" if controllers is None else f"controllers {controllers}\n"
    text = FINE.replace("controllers cpuset cpu io memory hugetlb pids rdma misc\n", line)
    found = judged(WORKER, text, "limits")
    assert (found.verdict, found.remedy) == (Verdict.INFO, None)
    assert found.found.startswith(f"no cgroup v2 with {missing}: ")
    assert judged(WORKER, FINE, "limits").verdict is Verdict.OK


@pytest.mark.parametrize(
    ("line", "instead", "check", "found", "remedy"),
    [
        ("user 0 root", "user 1000 ada", "root", "commands run as ada, not as root", "ssh.sudo: true"),
        ("kvm yes", "kvm no sh: 1: cannot open /dev/kvm", "accelerator", "sh: 1: cannot open /dev/kvm", "kvm_intel"),
        (
            "kvm yes",
            "kvm no sh: 1: cannot open /dev/kvm: Permission denied",
            "accelerator",
            "sh: 1: cannot open /dev/kvm: Permission denied",
            "chgrp kvm /dev/kvm && chmod 660 /dev/kvm",
        ),
        ("tun yes", "tun no cannot open", "taps", "cannot open", "modprobe tun"),
        ("tbf yes", "tbf no unknown qdisc", "bandwidth", "unknown qdisc", "modprobe sch_tbf"),
        (
            "switch yes ovs-vswitchd (Open vSwitch) 3.1.0",
            "switch no sh: 1: ovs-appctl: not found",
            "open vswitch",
            "sh: 1: ovs-appctl: not found",
            "apt-get install openvswitch-switch",
        ),
        (
            "bridge yes ens4 tap1001-1",
            "bridge no no bridge named br-int",
            "bridge",
            "no bridge named br-int",
            "add-br br-int",
        ),
        (
            "mode-of-failure yes secure",
            "mode-of-failure yes",
            "bridge",
            "br-int has fail_mode []: it forwards all frames without flows",
            "set-fail-mode br-int secure",
        ),
        (
            "holder yes br-int",
            "holder no no port named ens4",
            "trunk",
            "no port named ens4",
            "ovs-vsctl add-port br-int ens4 trunks=4094",
        ),
        ("holder yes br-int", "holder yes br-ex", "trunk", "ens4 is on br-ex, not on br-int", "bridge: trunk"),
        (
            "mode yes [] [] [100, 4094]",
            "mode yes 7 [] [4094]",
            "trunk",
            "ens4 is a port of VLAN 7, not a trunk",
            "ovs-vsctl clear Port ens4 tag",
        ),
        (
            "opened yes []",
            'opened yes "could not open network device ens4"',
            "trunk",
            "ens4 cannot be opened: could not open network device ens4",
            "ip link show ens4",
        ),
        (
            "mtu 1500",
            "mtu 1496",
            "mtu",
            "ens4 has MTU 1496, and links need 1500",
            "ip link set ens4 mtu 1500",
        ),
        ("user 0 root", "user 0 root\nmissing qemu-img", "programs", "missing: qemu-img", "apt-get install qemu-utils"),
    ],
)
def test_what_makes_a_worker_unfit(line: str, instead: str, check: str, found: str, remedy: str) -> None:
    finding = judged(WORKER, FINE.replace(line, instead), check)
    assert (finding.verdict, finding.found) == (Verdict.FAIL, found)
    assert finding.remedy is not None
    assert remedy in finding.remedy


def test_a_bridge_whose_keeper_has_ended_is_a_warning() -> None:
    finding = judged(WORKER, FINE.replace("unkept no", "unkept yes"), "bridge")
    assert finding.verdict is Verdict.WARN
    assert finding.found == "br-int fails closed, but would not get its flows back by itself"
    assert finding.remedy
    assert "flows/keep watch br-int" in finding.remedy


def test_a_bridge_without_a_keeper_yet_is_fit() -> None:
    assert judged(WORKER, FINE.replace("unkept no\n", ""), "bridge").verdict is Verdict.OK


@pytest.mark.parametrize(
    ("line", "instead", "check", "found"),
    [
        ("nat yes", "nat no Error: Could not process rule", "nat", "Error: Could not process rule"),
        ("namespace yes", "namespace no unshare failed", "namespaces", "unshare failed"),
        ("LOWER_UP>", "NO-CARRIER>", "uplink", "ens3 is down"),
        ("dev ens3", "dev ens30", "uplink", "no default route uses ens3; found: default via 203.0.113.1 dev ens30"),
        ("route yes default via 203.0.113.1 dev ens3", "route yes", "uplink", "no default route uses ens3"),
        (
            "overlap",
            "overlap 10.60.7.0/24 dev ens5 proto kernel",
            "internet",
            "10.60.7.0/24 overlaps a route of this host: 10.60.7.0/24 dev ens5",
        ),
        ("link yes 3:", "link no Device does not exist:", "uplink", "Device does not exist: ens3"),
    ],
)
def test_what_makes_a_network_node_unfit(line: str, instead: str, check: str, found: str) -> None:
    finding = judged(NODE, FINE.replace(line, instead), check)
    assert finding.verdict is Verdict.FAIL
    assert finding.found.startswith(found)
    assert finding.remedy


def test_a_trunk_of_every_vlan_is_a_warning_with_the_command_that_mends_it() -> None:
    finding = judged(WORKER, FINE.replace("[100, 4094]", "[]"), "trunk")
    assert (finding.verdict, finding.remedy) == (Verdict.WARN, "ovs-vsctl set Port ens4 trunks=4094")


@pytest.mark.parametrize(
    ("free", "verdict"),
    [
        (NO_SPACE - 1, Verdict.FAIL),
        (NO_SPACE, Verdict.WARN),
        (LITTLE_SPACE - 1, Verdict.WARN),
        (LITTLE_SPACE, Verdict.OK),
    ],
)
def test_space(free: int, verdict: Verdict) -> None:
    finding = judged(WORKER, FINE.replace(str(LITTLE_SPACE), str(free)), "space")
    assert (finding.verdict, finding.remedy is None) == (verdict, verdict is Verdict.OK)


@pytest.mark.parametrize(
    ("skew", "verdict"), [(0.0, Verdict.OK), (MOST_SKEW, Verdict.OK), (3600.0, Verdict.WARN), (None, Verdict.WARN)]
)
def test_clock(skew: float | None, verdict: Verdict) -> None:
    assert judged(WORKER, FINE, "clock", skew).verdict is verdict
    assert clock(parse(FINE)) == pytest.approx(1_700_000_000.5)
    assert clock(parse(FINE.replace("clock 1", "clock ?"))) is None


def test_images_are_there_by_their_digest() -> None:
    assert lacking(WORKER, parse(FINE)) == {"ubuntu"}
    assert judged(WORKER, FINE, "image cirros").found == "present and verified"
    assert judged(WORKER, FINE, "image ubuntu").verdict is Verdict.INFO


def test_a_host_that_prints_nothing_is_judged() -> None:
    found = {finding.check: finding.verdict for finding in findings(WORKER, parse(""), None)}
    assert found["root"] == found["bridge"] == found["trunk"] == found["open vswitch"] == Verdict.FAIL


def test_each_host_is_asked_for_what_it_is_for() -> None:
    cluster = load_cluster(DISK, Path(__file__).parents[2] / "examples/cluster.yaml").cluster
    worker, node = (requirements(cluster, HostName(name)) for name in ("worker1", cluster.network_node.name))
    assert "qemu-system-x86_64" in worker.programs
    assert "qemu-system-x86_64" not in node.programs
    assert (worker.uplink, node.accelerator, dict(node.images)) == (None, None, {})
    assert {*worker.programs, *node.programs} == {*PACKAGES}


def test_the_probe_runs_where_nothing_is_there(tmp_path: Path) -> None:
    for program in ("sh", "date", "id", "tr", "df", "stat"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    argv = [str(tmp_path / "sh"), *probe(NODE).argv[1:]]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env={"PATH": str(tmp_path)}, timeout=30)
    probed = parse(done.stdout)
    assert (done.returncode, probed.all("missing")) == (0, ["ip", "nft"])
    assert clock(probed)
    assert judged(NODE, done.stdout, "programs").verdict is Verdict.FAIL
    assert judged(NODE, done.stdout, "nat").found.endswith("nft: not found")


def test_a_dhcp_server_on_all_interfaces_is_named_and_one_on_its_own_interface_is_none_of_ours() -> None:
    line = 'dhcp UNCONN 0 0 {}:67 0.0.0.0:* users:(("dnsmasq",pid=7,fd=4))'
    found = judged(NODE, FINE + line.format("*"), "dhcp")
    assert (found.verdict, found.found) == (Verdict.FAIL, "another program serves DHCP: dnsmasq")
    assert judged(NODE, FINE + line.format("0.0.0.0%virbr0"), "dhcp").verdict is Verdict.OK


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (
            "chains " + json.dumps({"nftables": [{"metainfo": {}}, {"chain": DROPPING}]}),
            "ip filter FORWARD",
        ),
        ("legacy -P INPUT DROP -P FORWARD DROP -P OUTPUT ACCEPT", "iptables-legacy FORWARD, iptables-legacy INPUT"),
    ],
    ids=["nftables", "iptables-legacy"],
)
def test_a_firewall_that_drops_by_default_is_a_warning_with_the_rules_that_guests_need(line: str, named: str) -> None:
    found = judged(NODE, f"{FINE}{line}\n", "firewall")
    assert (found.verdict, found.found) == (Verdict.WARN, f"drop what no rule accepts: {named}")
    assert found.remedy
    assert "iptables -I FORWARD -i inet400 -j ACCEPT" in found.remedy


def test_guests_without_a_dns_server_are_told() -> None:
    assert judged(NODE, FINE, "resolver").found == "guests ask 9.9.9.9"
    assert judged(replace(NODE, dns=()), FINE, "resolver").verdict is Verdict.INFO


@pytest.mark.parametrize(
    ("answer", "verdict", "found"),
    [
        ("yes ", Verdict.INFO, "br-int drops frames to reserved addresses (LLDP, LACP, STP, 802.1X): "),
        ('yes "true"', Verdict.OK, "br-int forwards frames to reserved addresses (LLDP, LACP, STP, 802.1X)"),
    ],
)
def test_a_link_is_no_wire_for_what_is_meant_for_neighbours(answer: str, verdict: Verdict, found: str) -> None:
    said = judged(WORKER, f"{FINE}reserved {answer}\n", "reserved")
    assert said.verdict is verdict
    assert said.found.startswith(found)


@pytest.mark.lab
def test_a_real_bridge_drops_and_forwards_them_as_doctor_says() -> None:
    trace = (
        "ovs-appctl ofproto/trace br-int in_port=one,dl_src=52:54:00:00:00:01,dl_dst=01:80:c2:00:00:0e,dl_type=0x88cc"
    )
    with real_host() as host:
        for name in ("one", "two"):
            host.sh(f"ovs-vsctl add-port br-int {name} tag=7 -- set Interface {name} type=internal")
        dropped = judged_of(WORKER, parse(host.run(probe(WORKER)).output), "reserved")
        assert (dropped.verdict, "Datapath actions: drop" in host.sh(trace)) == (Verdict.INFO, True)
        host.sh("ovs-vsctl set Bridge br-int other_config:forward-bpdu=true")
        forwarded = judged_of(WORKER, parse(host.run(probe(WORKER)).output), "reserved")
        assert (forwarded.verdict, "Datapath actions: drop" in host.sh(trace)) == (Verdict.OK, False)


def test_vnc_ports_of_other_programs_are_a_warning() -> None:
    line = 'vnc LISTEN 0 5 127.0.0.1:5901 0.0.0.0:* users:(("Xtigervnc",pid=7,fd=4))'
    found = judged(WORKER, f"{FINE}{line}\n", "vnc")
    assert (found.verdict, found.found) == (Verdict.WARN, "ports are taken: 5901 by Xtigervnc")


LISTEN = "socket(S,PF_INET,SOCK_STREAM,0);bind(S,sockaddr_in(5907,INADDR_LOOPBACK));listen(S,1);sleep 60"


@pytest.mark.lab
def test_the_probe_finds_other_programs_and_rules_on_a_host() -> None:
    with real_host() as host:
        host.sh("nft add table ip filter")
        host.sh("nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'")
        host.sh("dnsmasq --conf-file=/dev/null --port=0 --dhcp-range=10.9.9.9,static --pid-file")
        host.sh(f"perl -MSocket -e '{LISTEN}' > /dev/null 2>&1 & sleep 0.3")
        node = parse(host.run(probe(NODE)).output)
        worker = parse(host.run(probe(WORKER)).output)
    assert judged_of(NODE, node, "dhcp").found == "another program serves DHCP: dnsmasq"
    assert judged_of(NODE, node, "firewall").found == "drop what no rule accepts: ip filter FORWARD"
    assert judged_of(WORKER, worker, "vnc").found == "ports are taken: 5907 by perl"
