"""On hosts: a renewed image is for new disks, and disks that exist keep their content on the earlier one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.lab.idle import idle_image, with_image
from tests.lab.site import Site, on_host

pytestmark = pytest.mark.lab

SLICE = """\
version: 1
name: renewed
owner: admin
defaults: {flavor: cirros}
vms:
  old: {worker: worker1}
"""


def backing(site: Site, name: str) -> str:
    vm = site.vms("renewed")[name]
    disk = f"/var/lib/reconciler/vms/{vm.data['id']}/{name}_img.qcow2"
    told = json.loads(on_host(site.lab, vm.worker, f"qemu-img info -U --output=json {disk}"))
    return str(told["backing-filename"])


def renew(site: Site) -> Site:
    """Put another file in the place of the image, as an operator does."""
    image = idle_image(site.folder)
    with image.open("ab") as file:
        file.write(bytes(512))
    return replace(site, cluster=with_image(site.cluster, image, site.folder / "renewed-cluster.yaml"))


def test_a_vm_that_moves_takes_its_earlier_image_with_it(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=2)
    path = site.write(SLICE)
    site.apply(path)
    earlier = backing(site, "old")
    site = renew(site)
    site.write(SLICE.replace("worker1", "worker2"))
    site.do("apply", "--auto-approve", path)
    assert (site.vms("renewed")["old"].worker, backing(site, "old")) == ("worker2", earlier)
    assert on_host(site.lab, "worker2", f"sha256sum < {earlier}").split()[0].startswith(earlier[-18:-6])
    assert on_host(site.lab, "worker1", f"[ -e {earlier} ] || echo gone") == "gone"
    site.in_sync(path)


def test_a_renewed_image_is_for_new_disks(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=1)
    path = site.write(SLICE)
    site.apply(path)
    earlier, pid = backing(site, "old"), site.vms("renewed")["old"].pid
    site = renew(site)
    site.in_sync(path)
    site.write(f"{SLICE}  new: {{worker: worker1}}\n")
    assert "lose" not in site.do("plan", path).out
    site.apply(path)
    assert (backing(site, "old"), site.vms("renewed")["old"].pid) == (earlier, pid)
    assert backing(site, "new") != earlier
    site.in_sync(path)

    site.do("apply", "--auto-approve", "--replace", "disk/admin/renewed/old", path)
    assert backing(site, "old") == backing(site, "new")
    assert on_host(site.lab, "worker1", f"[ -e {earlier} ] || echo gone") == "gone"
    site.in_sync(path)
