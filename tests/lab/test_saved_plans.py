"""A saved plan on hosts does exactly what it says; when it is stale, no host is contacted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler import lab as labs
from tests.lab.census import census, settled
from tests.lab.site import Site, on_host

pytestmark = pytest.mark.lab

SLICE = """\
version: 1
name: kept
owner: admin
defaults: {flavor: cirros}
vms:
  a: {worker: worker1}
"""


def test_a_saved_plan_is_performed_exactly_and_once(own_site: Callable[..., Site]) -> None:
    site = own_site(workers=1)
    path, plan, lossy = site.write(SLICE), site.folder / "kept.plan", site.folder / "lossy.plan"
    site.do("plan", "-o", plan, path)
    done = site.do("apply", "--auto-approve", plan)
    assert done.out.startswith(site.do("show", plan).out)
    assert "Apply complete" in done.out
    site.in_sync(path)

    carried = census(site.lab)
    (vm,) = site.vms("kept").values()
    disk = f"/var/lib/reconciler/vms/{vm.data['id']}/a_img.qcow2"
    on_host(site.lab, "worker1", f"mv {disk} {disk}.away")
    assert "1 VM loses its data." in site.do("plan", "--refresh", "-o", lossy, path).out
    refused = site.run("apply", "--auto-approve", lossy)
    assert (refused.code, "error[data-loss]: " in refused.err) == (1, True), refused.told
    on_host(site.lab, "worker1", f"mv {disk}.away {disk}")
    assert settled(site.lab, carried) == []

    for host in labs.status(site.lab.name).hosts:
        labs.pull_plug(site.lab.name, host.name)
    stale = site.run("apply", "--auto-approve", plan)
    assert (stale.code, stale.out) == (1, ""), stale.told
    assert stale.err.startswith("error[state-moved]: the plan was made from another state")
    assert stale.err.count("\n") == 2, "the hosts, which are down, are not heard of"
