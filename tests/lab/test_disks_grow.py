"""On hosts: a disk grows while its VM runs or not, and keeps its content; it never shrinks."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.lab.site import Site, on_host

pytestmark = pytest.mark.lab

SLICE = """\
version: 1
name: growing
owner: admin
defaults: {{flavor: cirros}}
vms:
  web: {{worker: worker1, disk: {size}}}
"""
MIB = 2**20
PATTERN = "0x5a 1M 64k"


def sizes(site: Site, disk: str) -> tuple[int, bool]:
    """Return the size that a guest sees in bytes, and whether the pattern is still there."""
    told = json.loads(on_host(site.lab, "worker1", f"qemu-img info -U --output=json {disk}"))
    read = on_host(site.lab, "worker1", f"qemu-io -U -r -f qcow2 -c 'read -P {PATTERN}' {disk}")
    return told["virtual-size"], "verification failed" not in read and "65536/65536" in read


def kill(site: Site) -> None:
    pid = site.vms("growing")["web"].pid
    on_host(site.lab, "worker1", f"kill -KILL {pid}; while [ -e /proc/{pid} ]; do sleep 0.05; done")


def test_a_disk_grows_and_keeps_its_content(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=1)
    path = site.write(SLICE.format(size="1GiB"))
    site.do("apply", "--auto-approve", path)
    (vm,) = site.vms("growing").values()
    disk = f"/var/lib/reconciler/vms/{vm.data['id']}/web_img.qcow2"
    kill(site)
    on_host(site.lab, "worker1", f"qemu-io -f qcow2 -c 'write -P {PATTERN}' {disk}")
    site.do("apply", "--auto-approve", path)
    assert sizes(site, disk) == (1024 * MIB, True)

    pid = site.vms("growing")["web"].pid
    site.write(SLICE.format(size="1500MiB"))
    planned = site.do("plan", path).out
    assert "~ disk/admin/growing/web on worker1  # update: size changed" in planned
    assert planned.endswith("Plan: 0 to add, 1 to change, 0 to replace, 0 to destroy.\n")
    site.do("apply", "--auto-approve", path)
    assert sizes(site, disk) == (1500 * MIB, True)
    assert site.vms("growing")["web"].pid == pid
    site.in_sync(path)

    kill(site)
    site.write(SLICE.format(size="2GiB"))
    site.do("apply", "--auto-approve", path)
    assert sizes(site, disk) == (2048 * MIB, True)
    site.in_sync(path)

    site.write(SLICE.format(size="1GiB"))
    refused = site.run("apply", "--auto-approve", path)
    assert refused.code == 1, refused.told
    assert "disk/admin/growing/web cannot shrink: its size is 2GiB, and would be 1GiB" in refused.err
    assert "hint: disks only grow: `disk: 2GiB` keeps it, --replace disk/admin/" in refused.err
    assert sizes(site, disk) == (2048 * MIB, True)


def test_a_growth_that_was_cut_short_is_completed(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=1)
    path = site.write(SLICE.format(size="1GiB"))
    site.do("apply", "--auto-approve", path)
    (vm,) = site.vms("growing").values()
    disk = f"/var/lib/reconciler/vms/{vm.data['id']}/web_img.qcow2"
    socket = f"{disk.rpartition('/')[0]}/qmp.sock"
    site.write(SLICE.format(size="2GiB"))
    # Another program holds the monitor, which has one client at a time.
    holder = f"perl -MSocket -e 'socket(S,PF_UNIX,SOCK_STREAM,0);connect(S,sockaddr_un(q({socket})));sleep 60'"
    on_host(site.lab, "worker1", f"{holder} > /dev/null 2>&1 & echo $! > /run/holder; sleep 0.3")
    refused = site.run("apply", "--auto-approve", path)
    on_host(site.lab, "worker1", "kill $(cat /run/holder); rm /run/holder")
    assert refused.code == 1, refused.told
    assert "another program uses the monitor of this VM" in refused.told
    site.do("apply", "--auto-approve", path)
    told = json.loads(on_host(site.lab, "worker1", f"qemu-img info -U --output=json {disk}"))
    assert told["virtual-size"] == 2048 * MIB
    site.in_sync(path)
