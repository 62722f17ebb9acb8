"""A lab host behaves like a host: logins, its own files and processes, and power cuts."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncssh
import pytest

from reconciler import lab as labs
from reconciler.errors import LabError
from reconciler.lab.cluster_files import USER
from reconciler.lab.folder import locate
from reconciler.lab.host import wait_until_ready

pytestmark = pytest.mark.lab

HOSTS = ("worker1", "worker2", "worker3", "gateway")


def _connect(name: str, host: str) -> asyncssh.misc._ACMWrapper[asyncssh.SSHClientConnection]:
    folder = locate(name)
    port = next(each.port for each in labs.status(name).hosts if each.name == host)
    return asyncssh.connect(
        "127.0.0.1",
        port,
        username=USER,
        client_keys=[str(folder.client_key)],
        known_hosts=str(folder.known_hosts),
        config=None,
        agent_path=None,
    )


def _said(name: str, host: str, script: str) -> str:
    done = labs.run_in(name, host, ["sh", "-c", script])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("host", HOSTS)
async def test_ssh_with_strict_host_keys(lab: labs.LabInfo, host: str) -> None:
    async with _connect(lab.name, host) as connection:
        done = await connection.run(
            "hostname; id -un; sudo -n /bin/sh -s",
            input="id -u; which nft ip ovs-vsctl qemu-system-x86_64 | wc -l",
            check=True,
        )
    assert done.stdout == f"{host}\n{USER}\n0\n4\n"


async def test_every_host_has_a_key_of_its_own(lab: labs.LabInfo) -> None:
    known = locate(lab.name).known_hosts.read_text().splitlines()
    assert len({line.split()[2] for line in known}) == len(HOSTS)


async def test_a_foreign_host_key_is_refused(lab: labs.LabInfo, tmp_path: Path) -> None:
    ports = {host.name: host.port for host in labs.status(lab.name).hosts}
    known = locate(lab.name).known_hosts.read_text()
    swapped = known.replace(f":{ports['worker1']} ", ":0 ").replace(f":{ports['worker2']} ", f":{ports['worker1']} ")
    (tmp_path / "known_hosts").write_text(swapped)
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        await asyncssh.connect("127.0.0.1", ports["worker1"], known_hosts=str(tmp_path / "known_hosts"), config=None)


async def test_ten_sessions_and_a_copied_file(lab: labs.LabInfo, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 4096)
    async with _connect(lab.name, "worker3") as connection, connection.start_sftp_client() as copy:
        await copy.put(str(tmp_path / "file"), "/tmp/file")  # noqa: S108 - the host's own /tmp
        done = await connection.run("wc -c < /tmp/file && rm /tmp/file", check=True)
    assert done.stdout == "1048576\n"


def test_addresses_and_names_inside(lab: labs.LabInfo) -> None:
    for host in labs.status(lab.name).hosts:
        assert f"inet {host.address}/24" in _said(lab.name, host.name, "ip -4 address show dev ens3")
        assert _said(lab.name, host.name, "cat /sys/class/net/ens3/mtu") == "1500"
    addresses = [host.address for host in labs.status(lab.name).hosts]
    assert addresses == ["10.0.10.1", "10.0.10.2", "10.0.10.3", "10.0.10.254"]


@pytest.mark.parametrize("place", ["/run", "/etc/openvswitch", "/run/netns", "/var/lib/reconciler", "/tmp", "/root"])  # noqa: S108
def test_places_are_private(lab: labs.LabInfo, place: str) -> None:
    _said(lab.name, "worker1", f"touch {place}/only-here")
    try:
        assert not Path(place, "only-here").exists()
        assert _said(lab.name, "worker2", f"ls {place}").count("only-here") == 0
    finally:
        _said(lab.name, "worker1", f"rm {place}/only-here")


def test_the_machine_is_read_only(lab: labs.LabInfo) -> None:
    for place in ("/usr/only-here", "/etc/only-here"):
        assert labs.run_in(lab.name, "worker1", ["touch", place]).returncode != 0
        assert not Path(place).exists()


def test_network_namespaces_in_a_host(lab: labs.LabInfo) -> None:
    script = "ip netns add a && ip netns exec a ls /sys/class/net && ip netns && ip netns del a"
    assert _said(lab.name, "gateway", script).split() == ["lo", "a"]
    assert not Path("/run/netns/a").exists()


def test_pid_1_reaps_orphans(lab: labs.LabInfo) -> None:
    _said(lab.name, "worker2", "for n in 1 2 3 4 5; do (sleep 0.1 > /dev/null 2>&1 &); done")
    time.sleep(0.5)
    states = _said(lab.name, "worker2", "cat /proc/[0-9]*/stat 2> /dev/null | cut -d' ' -f3").split()
    assert "Z" not in states


def test_a_switch_of_its_own_without_a_kernel_module(lab: labs.LabInfo) -> None:
    for host in HOSTS:
        assert _said(lab.name, host, "ovs-vsctl get bridge br-int datapath_type") == "netdev"
        assert _said(lab.name, host, "ovs-vsctl get port ens4 trunks") == "[4094]"
        assert _said(lab.name, host, "ovs-vsctl get interface ens4 link_state") == "up"
        assert _said(lab.name, host, "ovs-vsctl get Open_vSwitch . external_ids:hostname").strip('"') == host


def test_exec_in_passes_the_exit_code_and_the_terminal(lab: labs.LabInfo, capfd: pytest.CaptureFixture[str]) -> None:
    assert labs.exec_in(lab.name, "worker2", ["sh", "-c", "hostname; exit 7"]) == 7
    assert capfd.readouterr().out == "worker2\n"


def test_unknown_hosts_and_labs_are_named(lab: labs.LabInfo) -> None:
    with pytest.raises(LabError, match="has no host worker9") as unknown:
        labs.exec_in(lab.name, "worker9", ["true"])
    assert unknown.value.hint == "its hosts are worker1, worker2, worker3, gateway"
    with pytest.raises(LabError, match="there is no lab nowhere") as nowhere:
        labs.status("nowhere")
    assert nowhere.value.hint == "create it with `reconciler lab up --name nowhere`"


async def test_a_pulled_plug_keeps_only_the_disk(own_lab: Callable[..., labs.LabInfo]) -> None:
    name = own_lab(workers=1).name
    _said(
        name, "worker1", "echo kept > /var/lib/reconciler/disk; echo gone > /run/memory; sleep 1000 > /dev/null 2>&1 &"
    )
    _said(name, "worker1", "ip netns add slice; ovs-vsctl add port ens4 trunks 100")

    labs.pull_plug(name, "worker1")
    assert [(host.name, host.up) for host in labs.status(name).hosts] == [("worker1", False), ("gateway", True)]
    with pytest.raises(LabError, match=r"worker1 of lab .* is down"):
        labs.run_in(name, "worker1", ["true"])
    with pytest.raises(ConnectionRefusedError):
        await _connect(name, "worker1")

    labs.plug_in(name, "worker1")
    assert _said(name, "worker1", "cat /var/lib/reconciler/disk") == "kept"
    assert _said(name, "worker1", "ls /run/memory 2> /dev/null || echo none") == "none"
    assert _said(name, "worker1", "ip netns") == ""
    assert _said(name, "worker1", "ovs-vsctl get port ens4 trunks") == "[100, 4094]"
    assert "sleep 1000" not in _said(name, "worker1", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert _said(name, "worker1", "busybox ping -c 1 -W 5 10.0.10.254 > /dev/null && echo reached") == "reached"
    async with _connect(name, "worker1") as connection:
        assert (await connection.run("hostname", check=True)).stdout == "worker1\n"


def test_a_host_that_is_only_just_being_started_is_waited_for(own_lab: Callable[..., labs.LabInfo]) -> None:
    name = own_lab(workers=1).name
    labs.pull_plug(name, "worker1")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_until_ready, locate(name), ["worker1"])
        time.sleep(0.2)
        labs.plug_in(name, "worker1")
        waiting.result(timeout=60)
    assert [one.up for one in labs.status(name).hosts] == [True, True]
