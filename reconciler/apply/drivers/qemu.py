"""Writes QEMU's command line for a VM, and reads the settings of a VM from one, also of an earlier version."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from reconciler.apply.drivers.confinement import FIRST_SOCKET, SOCKETS, descriptors
from reconciler.apply.transport import output
from reconciler.plan.resources import Vm

_VNC_BASE = 5900  # RFB's port for display 0
_FIRST_SLOT = 3  # PCI slots 0 and 1 are the chipset's, 2 is the screen's, the disk's and the agent's
_SCREEN = "VGA,addr=0x02.0,multifunction=on"
_DISK = "virtio-blk-pci,drive=disk0,addr=0x02.1,bootindex=0"
_PORTS = "virtio-serial-pci,id=ports0,addr=0x02.3"
_AGENT = "virtserialport,bus=ports0.0,chardev=agent0,id=agent0port,name=org.qemu.guest_agent.0"
_LOG = 3  # the descriptor through which QEMU gets the pipe to its logger
_SOCKETS = {name: FIRST_SOCKET + at for at, name in enumerate(SOCKETS)}


def launch(vm: Vm) -> tuple[str, ...]:
    """Return QEMU's command line for a VM: only the devices listed here. Its sockets and TAPs are open already."""
    argv = ["qemu-system-x86_64", "-name", f"guest={guest(vm)},debug-threads=on", "-nodefaults", "-no-user-config"]
    argv += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    argv += ["-machine", f"pc,accel={vm.accelerator}", "-cpu", "host" if vm.accelerator == "kvm" else "max"]
    argv += ["-smp", str(vm.vcpus), "-m", f"size={vm.memory}B"]
    argv += ["-display", "none", "-device", _SCREEN]
    argv += ["-drive", f"file={_escaped(vm.disk)},format=qcow2,if=none,id=disk0,node-name=overlay0", "-device", _DISK]
    # The serial number shows which seed the guest was started with: the file may be newer by now.
    name, file, serial = ("network0", vm.network_seed, "")
    if vm.cloud_init is not None:
        name, file, serial = ("seed0", vm.seed, f",serial={vm.cloud_init}")
    argv += ["-drive", f"file={_escaped(file)},format=raw,if=none,id={name},readonly=on"]
    argv += ["-device", f"virtio-blk-pci,drive={name},addr=0x02.2{serial}"]
    for index, (nic, tap) in enumerate(zip(vm.nics, descriptors(vm.nics), strict=True)):
        device = f"virtio-net-pci,netdev=net{index},id={nic.tap},mac={nic.mac},addr={_FIRST_SLOT + index:#04x},romfile="
        argv += ["-netdev", f"tap,id=net{index},fd={tap}", "-device", device]
    argv += ["-vnc", f"127.0.0.1:{vm.vnc - _VNC_BASE}"]
    argv += ["-chardev", f"socket,id=qmp0,{_listening('qmp')}", "-mon", "chardev=qmp0,mode=control"]
    # QEMU would truncate a log to which it does not append, and a pipe has no length.
    argv += ["-add-fd", f"fd={_LOG},set={_LOG}"]
    logged = f"{_listening('serial')},logfile=/dev/fdset/{_LOG},logappend=on"
    argv += ["-chardev", f"socket,id=serial0,{logged}", "-serial", "chardev:serial0"]
    argv += ["-device", _PORTS, "-chardev", f"socket,id=agent0,{_listening('agent')}", "-device", _AGENT]
    return (*argv, "-pidfile", f"{vm.directory}/qemu.pid")


def _listening(name: str) -> str:
    return f"fd={_SOCKETS[name]},server=on,wait=off"


def guest(vm: Vm) -> str:
    """Return the name of a VM's guest: its address without the kind."""
    return vm.address.partition("/")[2]


def settings(arguments: Sequence[str]) -> dict[str, Any]:
    """Read a VM's attributes from a command line, so that one written by an older version compares as equal."""
    named = [(key, value) for key, value in pairwise(arguments) if key.startswith("-")]
    one = dict(named)
    devices = [value for key, value in named if key == "-device" and value.startswith("virtio-net-pci,")]
    taps = {option(value, "id"): option(value, "ifname") for key, value in named if key == "-netdev"}
    disk = next((value for key, value in named if key == "-drive" and option(value, "id") == "disk0"), "")
    seed = next((value for key, value in named if key == "-device" and option(value, "drive") == "seed0"), None)
    return {
        "disk": (option(disk, "file") or "").replace(",,", ","),
        "vcpus": output.number(one.get("-smp", "")),
        "memory": output.number((option(one.get("-m", ""), "size") or "").removesuffix("B")),
        "nics": [
            {"tap": taps.get(option(nic, "netdev")) or option(nic, "id"), "mac": option(nic, "mac")} for nic in devices
        ],
        "vnc": output.number(one.get("-vnc", "").rpartition(":")[2]) + _VNC_BASE,
        "accelerator": option(one.get("-machine", ""), "accel"),
    } | ({} if seed is None else {"cloud_init": option(seed, "serial")})


def option(value: str, key: str) -> str | None:
    """Return the value of a key in an option of QEMU's: `id=disk0,file=/a,,b` has the file `/a,,b`."""
    found = re.search(rf"(?:^|,){key}=((?:[^,]|,,)*)", value)
    return found[1] if found else None


def _escaped(value: str) -> str:
    """Double commas, as QEMU's option parser requires."""
    return value.replace(",", ",,")
