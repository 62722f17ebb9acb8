"""Checks that this machine can run a lab, and reports missing packages and kernel features; installs nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Final

from reconciler.errors import LabError
from reconciler.lab.process import PATH

# Program -> its package in Debian 12.
PROGRAMS: Final = {
    "ovsdb-server": "openvswitch-switch",
    "ovs-vswitchd": "openvswitch-switch",
    "ovs-vsctl": "openvswitch-switch",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "dnsmasq": "dnsmasq-base",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sudo": "sudo",
    "nft": "nftables",
    "ip": "iproute2",
    "busybox": "busybox-static",
    "depmod": "kmod",
    "cpio": "cpio",
    "syslinux": "syslinux",
    "mcopy": "mtools",
    "mkfs.fat": "dosfstools",
    "tini": "tini",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setsid": "util-linux",
    "pivot_root": "util-linux",
}
# Tried in a new network namespace, because a feature may be a module that is loaded on first use.
FEATURES: Final = {
    "network namespaces": "true",
    "veth": "ip link add lab-a type veth peer name lab-b",
    "bridge": "ip link add lab-c type bridge",
    "tun": "ip tuntap add dev lab-d mode tap",
}


def check_root() -> None:
    """Raise `LabError` unless this process may create namespaces."""
    if os.geteuid() != 0:
        raise LabError(
            "a lab needs root, because it creates network namespaces",
            hint="run it again with `sudo`, or as root",
        )


def check() -> None:
    """Raise `LabError` unless this is root and every program and kernel feature is available."""
    check_root()
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        raise LabError(
            f"a lab needs Debian's {'package' if len(missing) == 1 else 'packages'} {', '.join(missing)}",
            hint=f"apt-get install {' '.join(missing)}",
        )
    lacking = _lacking_features()
    if lacking:
        raise LabError(
            f"the kernel of this machine does not support {', '.join(lacking)}, which a lab needs",
            hint="load the modules (`modprobe veth bridge tun`), or use a kernel or a container that allows them",
        )


def _lacking_features() -> list[str]:
    # One process tries all; each feature that fails prints its name.
    script = "\n".join(f"{command} 2> /dev/null || echo '{name}'" for name, command in FEATURES.items())
    argv = ["unshare", "--net", "--", "sh", "-c", script]
    done = subprocess.run(argv, text=True, capture_output=True, check=False, env={"PATH": PATH})
    return done.stdout.splitlines() if done.returncode == 0 else ["network namespaces"]
