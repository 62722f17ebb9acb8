"""Start and end the QEMU process of each VM; its disk and TAPs are there before it, and outlive it.

A process is ours if its command line says so: it names the guest and our pidfile. A guest is not asked to shut down:
SIGTERM makes QEMU write out what it holds of the disk and exit, as if the guest's power were cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from reconciler.apply.command import Command, Operation, Result, script
from reconciler.apply.drivers import answers
from reconciler.apply.drivers.driver import Driver, Found, Premises, Survey
from reconciler.apply.drivers.ownership import refuse, slice_of, stop_at, tagged
from reconciler.errors import ForeignObject, HostError
from reconciler.plan.resources import ROOT, Disk, Nic, Vm, address
from reconciler.spec.names import Address, Bytes, VmId

_VMS = f"{ROOT}/vms"
_VNC_BASE = 5900  # RFB's port for display 0
_FIRST_SLOT = 3  # PCI slots 0 and 1 are the chipset's, 2 is the screen's and the disk's
_SCREEN = "VGA,addr=0x02.0,multifunction=on"
_DISK = "virtio-blk-pci,drive=disk0,addr=0x02.1,bootindex=0"
_SEED = "virtio-blk-pci,drive=seed0,addr=0x02.2"
_HEADER = re.compile(r"==> /proc/([0-9]+)/cmdline <==")

# Two lines for each directory: the process id of its pidfile, and whether it holds anything a process left; where there
# is something but no process of that id, all processes are searched for one that was told to write that pidfile. Then a
# line `--`, and the command lines of those processes, one argument on a line, each under a header with its process id.
PROBE = """
search() {
    for process in /proc/[0-9]*; do
        line=
        { IFS= read -r line || :; } 2> /dev/null < "$process/cmdline" || :
        case $line in *"-pidfile$1/qemu.pid"*) pid=${process#/proc/} ;; esac
    done
}
count=$#
for directory do
    pid= left=
    if [ -e "$directory/qemu.pid" ]; then read -r pid < "$directory/qemu.pid" || :; fi
    for name in qemu.pid qmp.sock serial.sock serial.log; do
        if [ -e "$directory/$name" ]; then left=yes; fi
    done
    case $pid in *[!0-9]*) pid= ;; esac
    if [ -n "$left" ] && { [ -z "$pid" ] || [ ! -e "/proc/$pid" ]; }; then search "$directory"; fi
    printf '%s\\n' "$pid" "$left"
    if [ -n "$pid" ] && [ -e "/proc/$pid/cmdline" ]; then set -- "$@" "/proc/$pid/cmdline"; fi
done
shift "$count"
echo --
if [ $# -gt 0 ]; then head -v -c 65536 -- "$@" 2> /dev/null | tr '\\0' '\\n'; fi
"""

START = """
directory=$1
shift
rm -f -- "$directory/qemu.pid" "$directory/qmp.sock" "$directory/serial.sock"
exec "$@"
"""

# A process is asked for ten seconds, then killed. A dead one that nobody has reaped has an empty command line.
STOP = """
runs() {
    line=
    [ -e "/proc/$1/cmdline" ] || return 1
    { IFS= read -r line || :; } 2> /dev/null < "/proc/$1/cmdline" || :
    case $line in *"$2"*) return 0 ;; esac
    return 1
}
kill -TERM "$1" 2> /dev/null || :
tries=0
while runs "$1" "$2"; do
    tries=$((tries + 1))
    if [ "$tries" -eq 100 ]; then kill -KILL "$1" 2> /dev/null || :; fi
    if [ "$tries" -gt 200 ]; then
        echo "process $1 does not end" >&2
        exit 1
    fi
    sleep 0.1
done
"""

CLEAN = """
rm -f -- "$1/qemu.pid" "$1/qmp.sock" "$1/serial.sock" "$1/serial.log"
"""


# Two lines for each directory in which a process left something: its path, and the owner of the overlay in it. Then a
# line `--`, and the command lines of all processes whose pidfile is in such a directory, as above.
SURVEY_PROCESSES = """
root=$1
for directory in "$root"/*; do
    left= owner=
    for name in qemu.pid qmp.sock serial.sock serial.log; do
        if [ -e "$directory/$name" ]; then left=yes; fi
    done
    [ -n "$left" ] || continue
    for path in "$directory"/*.owner; do
        { IFS= read -r owner || :; } 2> /dev/null < "$path" || :
        case $owner in disk/*) break ;; esac
    done
    printf '%s\\n' "$directory" "$owner"
done
echo --
for process in /proc/[0-9]*; do
    line=
    { IFS= read -r line || :; } 2> /dev/null < "$process/cmdline" || :
    case $line in *"-pidfile$root/"*) set -- "$@" "$process/cmdline" ;; esac
done
shift
if [ $# -gt 0 ]; then head -v -c 65536 -- "$@" 2> /dev/null | tr '\\0' '\\n'; fi
"""


@dataclass(frozen=True, slots=True)
class VmFact:
    """The process that a VM's pidfile names and its arguments (none where it has ended); whether files are left."""

    pid: int
    arguments: tuple[str, ...]
    left: bool


def probe(vms: Sequence[Vm]) -> tuple[Command, ...]:
    """Look at the pidfiles, and at the command lines of the processes that they name."""
    return (script(PROBE, *(vm.directory for vm in vms)),)


def parse(vms: Sequence[Vm], results: Sequence[Result]) -> Mapping[Address, VmFact]:
    """Read one fact for each VM."""
    host = vms[0].host
    lines = answers.text(host, results[0]).split("\n")
    end = 2 * len(vms)
    if len(lines) <= end or lines[end] != "--":
        raise HostError(host, "the probe of VMs printed something unexpected")
    processes = _processes(lines[end + 1 :])
    found = {}
    for index, vm in enumerate(vms):
        pid, left = lines[2 * index : 2 * index + 2]
        arguments = processes.get(pid, ())
        mine = f"{vm.directory}/qemu.pid" in arguments
        found[vm.address] = VmFact(answers.number(pid) if mine else 0, arguments if mine else (), left == "yes")
    return found


def launch(vm: Vm) -> tuple[str, ...]:
    """Return QEMU's command line for a VM: nothing but the devices named here, all sockets in the VM's directory."""
    argv = ["qemu-system-x86_64", "-name", f"guest={guest(vm)},debug-threads=on", "-nodefaults", "-no-user-config"]
    argv += ["-machine", f"pc,accel={vm.accelerator}", "-cpu", "host" if vm.accelerator == "kvm" else "max"]
    argv += ["-smp", str(vm.vcpus), "-m", f"size={vm.memory}B"]
    argv += ["-display", "none", "-device", _SCREEN]
    argv += ["-drive", f"file={_escaped(vm.disk)},format=qcow2,if=none,id=disk0", "-device", _DISK]
    if vm.cloud_init is not None:
        # The serial number says what the guest was started with: the file may be a newer one by now.
        argv += ["-drive", f"file={_escaped(vm.seed)},format=raw,if=none,id=seed0,readonly=on"]
        argv += ["-device", f"{_SEED},serial={vm.cloud_init}"]
    for index, nic in enumerate(vm.nics):
        # Without vnet_hdr the guest sends whole packets with checksums: a switch in user space cannot finish them.
        netdev = f"tap,id=net{index},ifname={nic.tap},script=no,downscript=no,vnet_hdr=off"
        device = f"virtio-net-pci,netdev=net{index},mac={nic.mac},addr={_FIRST_SLOT + index:#04x},romfile="
        argv += ["-netdev", netdev, "-device", device]
    directory = _escaped(vm.directory)
    argv += ["-vnc", f"127.0.0.1:{vm.vnc - _VNC_BASE}"]
    argv += ["-qmp", f"unix:{directory}/qmp.sock,server=on,wait=off"]
    serial = f"path={directory}/serial.sock,server=on,wait=off,logfile={directory}/serial.log"
    argv += ["-chardev", f"socket,id=serial0,{serial}", "-serial", "chardev:serial0"]
    return (*argv, "-pidfile", f"{vm.directory}/qemu.pid", "-daemonize")


def guest(vm: Vm) -> str:
    """Return the name of a VM's guest: its address without the kind."""
    return vm.address.partition("/")[2]


def ensure(vm: Vm, fact: VmFact, _before: Vm | None) -> tuple[Operation, ...]:
    """Have the VM run as described; one that runs otherwise is stopped first."""
    stop_at(_obstacle(vm, fact))
    start = script(START, vm.directory, *launch(vm))
    if not fact.pid:
        return (start,)
    if _settings(fact.arguments) == _settings(launch(vm)):
        return ()
    return script(STOP, str(fact.pid), _mark(vm)), start


def remove(vm: Vm, fact: VmFact) -> tuple[Operation, ...]:
    """Stop the VM and delete its pidfile, sockets and log."""
    stop_at(_obstacle(vm, fact))
    stop = (script(STOP, str(fact.pid), _mark(vm)),) if fact.pid else ()
    return (*stop, script(CLEAN, vm.directory)) if stop or fact.left else ()


def observed(vm: Vm, fact: VmFact) -> Mapping[str, Any] | None:
    """Return what the process's command line says, or None where none runs."""
    if not fact.pid or _obstacle(vm, fact):
        return None
    seed = {} if vm.cloud_init is None else {"cloud_init": None}
    return {"vm_id": vm.vm_id, "directory": vm.directory} | seed | _settings(fact.arguments)


def _obstacle(vm: Vm, fact: VmFact) -> ForeignObject | None:
    names = [_option(value, "guest") for key, value in pairwise(fact.arguments) if key == "-name"]
    if fact.pid and names != [guest(vm)]:
        return refuse(vm, f"process {fact.pid}, which runs from {vm.directory},", "".join(map(str, names)))
    return None


def _mark(vm: Vm) -> str:
    """Return what the command line of the VM's process holds, once the shell has dropped the NULs between arguments."""
    return f"-pidfile{vm.directory}/qemu.pid"


def _processes(lines: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        if header := _HEADER.fullmatch(line):
            current = found.setdefault(header[1], [])
        else:
            current.append(line)
    return {pid: tuple(arguments) for pid, arguments in found.items()}


def _settings(arguments: Sequence[str]) -> dict[str, Any]:
    """Read what a VM's attributes say back from a command line, so that one by an older version counts as the same."""
    named = [(key, value) for key, value in pairwise(arguments) if key.startswith("-")]
    one = dict(named)
    devices = [value for key, value in named if key == "-device" and value.startswith("virtio-net-pci,")]
    taps = {_option(value, "id"): _option(value, "ifname") for key, value in named if key == "-netdev"}
    disk = next((value for key, value in named if key == "-drive" and _option(value, "id") == "disk0"), "")
    seed = next((value for key, value in named if key == "-device" and _option(value, "drive") == "seed0"), None)
    return {
        "disk": (_option(disk, "file") or "").replace(",,", ","),
        "vcpus": answers.number(one.get("-smp", "")),
        "memory": answers.number((_option(one.get("-m", ""), "size") or "").removesuffix("B")),
        "nics": [{"tap": taps.get(_option(nic, "netdev")), "mac": _option(nic, "mac")} for nic in devices],
        "vnc": answers.number(one.get("-vnc", "").rpartition(":")[2]) + _VNC_BASE,
        "accelerator": _option(one.get("-machine", ""), "accel"),
    } | ({} if seed is None else {"cloud_init": _option(seed, "serial")})


def _option(value: str, key: str) -> str | None:
    found = re.search(rf"(?:^|,){key}=((?:[^,]|,,)*)", value)
    return found[1] if found else None


def _escaped(value: str) -> str:
    """Double commas, as QEMU's option parser wants them."""
    return value.replace(",", ",,")


def survey(premises: Premises, results: Sequence[Result]) -> Iterator[Found]:
    """Find QEMU's processes by what they were told, and what others left by the overlay beside it."""
    lines = answers.text(premises.host, results[0]).split("\n")
    end = next((at for at in range(0, len(lines), 2) if lines[at] == "--"), None)
    if end is None:
        raise HostError(premises.host, "the survey of VMs printed something unexpected")
    left = dict(zip(lines[0:end:2], lines[1:end:2], strict=True))
    for pid, arguments in _processes(lines[end + 1 :]).items():
        one = dict(pairwise(arguments))
        directory, slash, _ = one.get("-pidfile", "").rpartition("/qemu.pid")
        where = tagged(Vm, f"{Vm.kind}/{_option(one.get('-name', ''), 'guest')}")
        if slash and directory.startswith(f"{_VMS}/") and where is not None:
            left.pop(directory, None)
            yield Found(_trace(premises, where, directory, _settings(arguments)), pid)
    for directory, owner in left.items():
        if (disk := tagged(Disk, owner)) is not None:
            yield Found(_trace(premises, address(Vm, disk.partition("/")[2]), directory, _settings(())))


def _trace(premises: Premises, where: Address, directory: str, settings: Mapping[str, Any]) -> Vm:
    return Vm(
        address=where,
        slice=slice_of(Vm, where),
        host=premises.host,
        vm_id=VmId(answers.number(directory.rpartition("/")[2])),
        directory=directory,
        disk=settings["disk"],
        vcpus=settings["vcpus"],
        memory=Bytes(settings["memory"]),
        nics=tuple(Nic(nic["tap"] or "", nic["mac"] or "") for nic in settings["nics"]),
        vnc=settings["vnc"],
        accelerator=settings["accelerator"] or "",
    )


SURVEY: Survey[Vm] = Survey((script(SURVEY_PROCESSES, _VMS),), survey, lambda vm: vm.directory)
DRIVER = Driver(Vm, probe, parse, ensure, remove, observed, SURVEY)
