"""On hosts: a slice, its VMs and its owner get other names, and their guests run on with all that they have."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest

from tests.lab.census import census
from tests.lab.site import Site, on_host

pytestmark = pytest.mark.lab

LAB1 = """\
version: 1
name: lab1
owner: admin
defaults: {flavor: cirros}
vms:
  web: {worker: worker1, internet: true, cloud_init: "#!/bin/sh\\necho hello\\n"}
  db: {worker: worker2}
links:
  - [web:eth1, db:eth1]
"""
LAB2 = LAB1.replace("name: lab1", "name: lab2\nrenamed_from: lab1").replace("  db: {", "  zeta: {renamed_from: db, ")
LAB2 = LAB2.replace("db:eth1", "zeta:eth1")
TAGS = (
    "ovs-vsctl list Port; ip -d link; cat /var/lib/reconciler/vms/*/*.*.owner /var/lib/reconciler/routers/*/owner || :"
)
OWNERS = "  carol: {renamed_from: admin}\n  other:"


def numbers(site: Site, name: str) -> dict[str, object]:
    """Return what each VM of a slice has, by its id: its process, its worker, its VNC port, its NICs."""
    found: dict[str, object] = {}
    for vm in site.vms(name).values():
        found[vm.data["id"]] = (vm.pid, vm.worker, vm.data["vnc"], vm.data["nics"])
    return found


def test_a_renamed_slice_runs_on_with_all_that_it_has(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=2)
    empty = census(site.lab)
    path = site.write(LAB1)
    site.do("apply", "--auto-approve", path)
    before = numbers(site, "lab1")
    path.unlink()

    path = site.write(LAB2)
    planned = site.do("plan", path).out.splitlines()[-1]
    assert "0 to add" in planned
    assert "0 to replace, 0 to destroy" in planned
    assert planned.endswith("renamed.")
    running = site.start("apply", "--auto-approve", path)
    running.wait_for_lines(3, "lab2")
    running.signal(signal.SIGKILL)
    assert running.finish().code == -signal.SIGKILL
    site.do("apply", "--auto-approve", path)
    assert numbers(site, "lab2") == before
    site.in_sync(path)
    assert "no drift" in site.do("drift").out.lower()
    assert "Verified" in site.do("verify").out
    assert json.loads(site.do("gc", "--dry-run", "--json").out)["orphans"] == []
    for host in ("worker1", "worker2", "gateway"):
        assert "admin@lab1" not in on_host(site.lab, host, "ls /var/lib/reconciler/state/*/")
        assert "lab1" not in on_host(site.lab, host, TAGS)

    renamed_owner(site, before)
    site.do("destroy", "--auto-approve", "carol/lab2")
    assert census(site.lab) == empty


def renamed_owner(site: Site, before: dict[str, object]) -> None:
    """Rename the owner too; then restart a VM, which gets the names of today."""
    site.cluster.write_text(site.cluster.read_text().replace("  admin:", OWNERS))
    path = site.write(LAB2.replace("owner: admin", "owner: carol"))
    site.do("apply", "--auto-approve", path)
    assert numbers(site, "carol/lab2") == before
    zeta = site.vms("carol/lab2")["zeta"]
    command = f"tr '\\0' ' ' < /proc/{zeta.pid}/cmdline"
    assert "guest=admin/lab1/db," in on_host(site.lab, "worker2", command)
    on_host(site.lab, "worker2", f"kill -KILL {zeta.pid}; while [ -e /proc/{zeta.pid} ]; do sleep 0.05; done")
    site.do("apply", "--auto-approve", path)
    pid = site.vms("carol/lab2")["zeta"].pid
    assert "guest=carol/lab2/zeta," in on_host(site.lab, "worker2", f"tr '\\0' ' ' < /proc/{pid}/cmdline")
    site.in_sync(path)
    assert "no drift" in site.do("drift").out.lower()
