"""QEMU runs as a user of its own, which can reach the files of its VM and no others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import pytest

from reconciler.apply.drivers import vm as driver
from reconciler.apply.drivers.monitor import MONITOR
from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.drivers.vm import VmFact
from reconciler.apply.transport.command import Command, Result, script
from reconciler.plan.resources import ROOT, Disk, Resource, Seed, Vm, address
from reconciler.spec.models.names import Bytes, VmId
from tests.apply.drivers.earlier import start_earlier
from tests.apply.drivers.realhost import RealHost, real_host
from tests.apply.drivers.sample import BASE, DISK, IMAGE, PORTS, SEED, SLICE, VM

pytestmark = pytest.mark.lab

SEEDED = replace(VM, cloud_init=SEED.cloud_init)
OTHER_DIRECTORY = f"{ROOT}/vms/1002"
OTHER_DISK = replace(DISK, address=address(Disk, f"{SLICE}/db"), path=f"{OTHER_DIRECTORY}/db_img.qcow2")
OTHER_SEED = replace(SEED, address=address(Seed, f"{SLICE}/db"), path=f"{OTHER_DIRECTORY}/seed.iso", vm_id=VmId(1002))
OTHER = replace(
    SEEDED,
    address=address(Vm, f"{SLICE}/db"),
    vm_id=VmId(1002),
    directory=OTHER_DIRECTORY,
    disk=OTHER_DISK.path,
    nics=(),
    vnc=5902,
    uid=VM.uid + 1,
)
# Asks a VM's own process to open a file: prints nothing, or its refusal.
OPEN = (
    MONITOR
    + """
my ($directory, $path, $reading) = @ARGV;
eval { alarm(10); attach($directory); ask("blockdev-add", "{\\"driver\\": \\"file\\", \\"node-name\\": \\"probe\\",
    \\"read-only\\": $reading, \\"filename\\": \\"$path\\"}"); ask("blockdev-del", "{\\"node-name\\": \\"probe\\"}"); };
print $@;
"""
)


@pytest.fixture
def host() -> Iterator[RealHost]:
    with real_host() as one:
        (one.uploads / "base").write_bytes(BASE)
        make(one, IMAGE, DISK, SEED, *PORTS)
        yield one


def make(host: RealHost, *resources: Resource) -> None:
    for resource in resources:
        kind = DRIVERS[resource.kind]
        host.perform(kind.ensure(resource, host.probe(kind, [resource])[resource.address], None))


def fact_of(host: RealHost, vm: Vm = SEEDED) -> VmFact:
    return cast("VmFact", host.probe(driver.DRIVER, [vm])[vm.address])


def status_of(host: RealHost, pid: int) -> dict[str, str]:
    lines = host.sh(f"cat /proc/{pid}/status").splitlines()
    return {key: " ".join(value.split()) for key, _, value in (line.partition(":") for line in lines)}


def owners(host: RealHost, *names: str) -> list[str]:
    """Return mode and owner of files in the VM's directory; `vm` is its user."""
    said = host.sh(f"cd {VM.directory}; stat -c '%n %a %u:%g' {' '.join(names)}").replace(str(VM.uid), "vm")
    return said.splitlines()


def opens(host: RealHost, path: str, *, reading: bool = True, vm: Vm = SEEDED) -> Result:
    return host.run(Command(("perl", "-e", OPEN, "--", vm.directory, path, json.dumps(reading))))


def test_the_process_has_a_user_of_its_own_and_no_power(host: RealHost) -> None:
    make(host, SEEDED)
    status = status_of(host, fact_of(host).processes[0].pid)
    nothing = "0" * 16
    assert {name: status[name] for name in ("Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp")} == {
        "Uid": " ".join([str(VM.uid)] * 4),
        "Gid": " ".join([str(VM.uid)] * 4),
        "Groups": "",
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {nothing}
    assert owners(host, ".", "qemu.pid", "qmp.sock", "seed.iso", "serial.sock", "web_img.qcow2") == [
        ". 710 0:vm",
        "qemu.pid 600 vm:vm",
        "qmp.sock 700 0:0",
        "seed.iso 640 0:vm",
        "serial.sock 700 0:0",
        "web_img.qcow2 600 vm:vm",
    ]
    taps = [f"/sys/class/net/{nic.tap}/owner" for nic in VM.nics]
    assert host.sh(f"cat {' '.join(taps)}").split() == [str(VM.uid)] * len(taps)


def test_the_process_reaches_its_own_files_and_no_others(host: RealHost) -> None:
    make(host, SEEDED, OTHER_DISK, OTHER_SEED, OTHER)
    host.sh("umask 077; echo secret > /run/netns/secret")
    assert opens(host, VM.seed).output == ""
    assert opens(host, IMAGE.path).output == ""
    others = (OTHER.disk, OTHER.seed, f"{OTHER.directory}/serial.log", f"{SEED.path}.owner", "/run/netns/secret")
    for path in others:
        assert "Permission denied" in opens(host, path).output, path
    for path in (VM.seed, IMAGE.path, f"{DISK.path}.owner", f"{VM.directory}/serial.log", "/etc/passwd"):
        assert "Permission denied" in opens(host, path, reading=False).output, path
    assert opens(host, OTHER.seed, vm=OTHER).output == "", "its own process reads it"


def test_its_user_can_change_no_name_in_its_directory_and_open_no_socket(host: RealHost) -> None:
    make(host, SEEDED)
    connect = f"socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un(q({VM.directory}/qmp.sock))) or die $!"
    attempts: Sequence[str] = (
        f"ln -s /etc/passwd {VM.directory}/new",
        f"mv {VM.directory}/web_img.qcow2 {VM.directory}/moved",
        f"rm -f {VM.directory}/seed.iso",
        f"ls {VM.directory}",
        f"perl -MSocket -e '{connect}'",
    )
    for attempt in attempts:
        command = "setpriv --reuid=$1 --regid=$1 --clear-groups --inh-caps=-all --bounding-set=-all sh -c"
        done = host.run(script(f'{command} "$2" < /dev/null', str(VM.uid), attempt))
        assert done.status != 0, attempt
        assert "ermission denied" in done.output, done.output


def test_a_vm_that_an_earlier_version_started_goes_on_and_is_confined_when_it_starts_again(host: RealHost) -> None:
    host.perform([start_earlier(SEEDED)])
    fact = fact_of(host)
    assert status_of(host, fact.processes[0].pid)["Uid"] == "0 0 0 0"
    assert (fact.whole, fact.run_state, driver.ensure(SEEDED, fact, SEEDED)) == (True, "running", ())
    observed = driver.observed(SEEDED, fact) or {}
    assert (observed["disk"], observed["nics"][1]["tap"]) == (VM.disk, "tap1001-1")
    make(host, SEED, *PORTS, replace(DISK, size=Bytes(128 * 2**20)))
    assert fact_of(host) == fact
    assert owners(host, ".", "web_img.qcow2", "seed.iso") == [
        ". 700 0:0",
        "web_img.qcow2 600 0:0",
        "seed.iso 600 0:0",
    ]

    larger = replace(SEEDED, memory=Bytes(80 * 2**20))
    host.perform(driver.ensure(larger, fact, SEEDED))
    again = fact_of(host, larger)
    assert status_of(host, again.processes[0].pid)["Uid"] == " ".join([str(VM.uid)] * 4)
    assert driver.ensure(larger, again, larger) == ()
    assert "web_img.qcow2 600 vm:vm" in owners(host, "web_img.qcow2")
    assert DRIVERS[SEED.kind].ensure(SEED, host.probe(DRIVERS[SEED.kind], [SEED])[SEED.address], None) == ()


def test_the_process_is_in_a_cgroup_of_its_own_that_goes_with_the_vm(host: RealHost) -> None:
    """Tried on a real cgroup v2, which need not have the controllers that limit."""
    host.sh("mount -t cgroup2 none /sys/fs/cgroup")
    try:
        make(host, SEEDED)
        assert "0::/reconciler/vm-1001\n" in host.sh(f"cat /proc/{fact_of(host).processes[0].pid}/cgroup")
        host.perform(driver.remove(SEEDED, fact_of(host)))
        assert "reconciler" not in host.sh("ls /sys/fs/cgroup").split()
    finally:
        host.run(Command(("sh", "-c", f"kill -KILL $(cat {VM.directory}/qemu.pid); sleep 0.5")))
        host.run(Command(("rmdir", "/sys/fs/cgroup/reconciler/vm-1001", "/sys/fs/cgroup/reconciler")))


def test_a_cgroup_gets_the_limits_of_the_flavor_and_a_margin_for_qemu(host: RealHost) -> None:
    """The kernel of a test machine need not have the controllers, so plain files take what is written to them."""
    own = "/sys/fs/cgroup/reconciler/vm-1001"
    host.sh(
        f"mount -t tmpfs none /sys/fs/cgroup; mkdir -p {own}; cd /sys/fs/cgroup; "
        f"for file in cgroup.controllers cgroup.subtree_control {own}/../cgroup.subtree_control "
        f"{own}/cpu.max {own}/memory.max {own}/pids.max {own}/cgroup.procs; do : > $file; done"
    )
    make(host, SEEDED)
    written = host.sh(f"cd {own}; for file in cpu.max memory.max pids.max cgroup.procs; do cat $file; echo; done")
    memory = 64 * 2**20 + 4 * 2**20 + 512 * 2**20 + 2**30
    pid = fact_of(host).processes[0].pid
    assert written.splitlines() == ["100000 100000", str(memory), "129", str(pid)]


def test_what_a_guest_wrote_is_not_read_by_root(host: RealHost) -> None:
    make(host, SEEDED)
    host.perform(driver.remove(SEEDED, fact_of(host)))
    host.sh(
        "umask 077; qemu-img create -q -f raw /run/netns/data 1M; "
        f"qemu-img create -q -f qcow2 -o data_file=/run/netns/data {VM.directory}/evil 1M; "
        f"cat {VM.directory}/evil > {DISK.path}; rm {VM.directory}/evil"
    )
    kind = DRIVERS[DISK.kind]
    larger = replace(DISK, size=Bytes(2**30))
    (grow,) = kind.ensure(larger, host.probe(kind, [larger])[DISK.address], DISK)
    done = host.run(cast("Command", grow))
    assert (done.status, "/run/netns/data': Permission denied" in done.output) == (1, True), done.output
    assert host.sh("stat -c %s /run/netns/data").strip() == str(2**20)


def test_folders_that_only_root_could_enter_are_opened_for_passing_through(host: RealHost) -> None:
    host.sh(f"chmod 700 {ROOT} {ROOT}/images {ROOT}/vms")
    make(host, SEEDED)
    assert fact_of(host).run_state == "running"
    assert host.sh(f"stat -c %a {ROOT} {ROOT}/images {ROOT}/vms").split() == ["711"] * 3
