"""A whole cluster on one Linux machine, with nothing faked: real sshd, Open vSwitch, QEMU, dnsmasq and nftables."""

from reconciler.lab.lab import (
    HostStatus,
    LabInfo,
    LabStatus,
    Report,
    down,
    exec_in,
    plug_in,
    pull_plug,
    status,
    up,
)

__all__ = [
    "HostStatus",
    "LabInfo",
    "LabStatus",
    "Report",
    "down",
    "exec_in",
    "plug_in",
    "pull_plug",
    "status",
    "up",
]
