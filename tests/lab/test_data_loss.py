"""On hosts: an apply that would delete a disk which nobody asked to delete changes nothing until that is accepted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lab.site import Site, on_host

pytestmark = pytest.mark.lab

SLICE = """\
version: 1
name: kept
owner: admin
defaults: {{flavor: cirros}}
vms:
  {name}: {{worker: worker1}}
"""


def test_a_vm_under_a_new_name_keeps_its_disk_until_the_loss_is_accepted(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=1)
    path = site.write(SLICE.format(name="web"))
    site.do("apply", "--auto-approve", path)
    (vm,) = site.vms("kept").values()
    disk = f"/var/lib/reconciler/vms/{vm.data['id']}/web_img.qcow2"
    before = on_host(site.lab, "worker1", f"stat -c %i:%Y {disk}")

    site.write(SLICE.format(name="wbe"))
    assert site.do("plan", path).out.endswith(" 1 VM loses its data.\n")
    refused = site.run("apply", "--auto-approve", path)
    assert refused.code == 1, refused.told
    assert "error[data-loss]: 1 VM loses its data, and nobody asked for that: disk/admin/kept/web on" in refused.err
    assert on_host(site.lab, "worker1", f"stat -c %i:%Y {disk}") == before
    assert vm.pid == site.vms("kept")["web"].pid

    site.do("apply", "--auto-approve", "--accept-data-loss", path)
    assert on_host(site.lab, "worker1", f"[ -e {disk} ] || echo gone") == "gone"
    assert set(site.vms("kept")) == {"wbe"}
    site.in_sync(path)
