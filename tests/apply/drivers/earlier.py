"""QEMU as an earlier version started it: as root, with sockets that it made itself, in a directory of root alone."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.apply.drivers.qemu import launch
from reconciler.apply.transport.command import Command, script
from reconciler.plan.resources import Vm

_START = """
directory=$1
shift
chown -R root:root "$directory"
chmod 0700 "$directory"
rm -f "$directory/qemu.pid" "$directory/qmp.sock" "$directory/serial.sock"
setsid setpriv --no-new-privs --bounding-set -all --inh-caps -all -- "$@" > /dev/null 2>&1 < /dev/null &
tries=0
until [ -S "$directory/serial.sock" ] && [ -s "$directory/qemu.pid" ] || [ "$tries" -gt 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
"""


def earlier_launch(vm: Vm) -> tuple[str, ...]:
    """Return the command line of a VM as written before its process had a user of its own."""
    return tuple(_earlier(vm))


def _earlier(vm: Vm) -> Iterator[str]:
    argv = list(launch(vm))
    while argv:
        word = argv.pop(0)
        following = argv[0] if argv else ""
        if word == "-netdev":
            index = int(following.partition("id=net")[2].partition(",")[0])
            argv[0] = f"tap,id=net{index},ifname={vm.nics[index].tap},script=no,downscript=no,vnet_hdr=off"
        elif word == "-device" and following.startswith("virtio-net-pci"):
            argv[0] = ",".join(part for part in following.split(",") if not part.startswith("id="))
        elif word == "-chardev" and "id=qmp0" in following:
            argv[:3] = [f"unix:{vm.directory}/qmp.sock,server=on,wait=off"]
            word = "-qmp"
        elif word == "-chardev" and "id=serial0" in following:
            file = f"path={vm.directory}/serial.sock,server=on,wait=off,logfile={vm.directory}/serial.log"
            argv[0] = f"socket,id=serial0,{file}"
        elif word == "-add-fd" or "agent0" in following or "virtio-serial-pci" in following:
            argv.pop(0)
            continue
        yield word.replace(",node-name=overlay0", "")


def start_earlier(vm: Vm) -> Command:
    """Return the command that starts a VM as an earlier version did, once its disk, seed and TAPs exist."""
    return script(_START, vm.directory, *earlier_launch(vm))
