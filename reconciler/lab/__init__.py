"""Runs a whole cluster on one Linux machine, with real sshd, Open vSwitch, QEMU, dnsmasq and nftables."""

from reconciler.lab.guest import Guest
from reconciler.lab.lab import (
    HostStatus,
    LabInfo,
    LabStatus,
    Progress,
    down,
    exec_in,
    guest_of,
    plug_in,
    pull_plug,
    run_in,
    status,
    up,
)

__all__ = [
    "Guest",
    "HostStatus",
    "LabInfo",
    "LabStatus",
    "Progress",
    "down",
    "exec_in",
    "guest_of",
    "plug_in",
    "pull_plug",
    "run_in",
    "status",
    "up",
]
