"""On hosts: a disk that is larger than the whole file system of its worker is refused before the first step."""

from __future__ import annotations

import pytest

from tests.lab.site import Site

pytestmark = pytest.mark.lab

SLICE = "version: 1\nname: huge\nowner: admin\ndefaults: {flavor: cirros}\nvms: {web: {}}\n"


def test_a_disk_that_no_worker_could_hold_is_refused(site: Site) -> None:
    wanted = SLICE.replace("{}}", "{disk: 500TiB}}")
    done = site.run("apply", "--auto-approve", site.write(wanted))
    assert done.code == 1, done.told
    assert "disk/admin/huge/web has 500TiB, which is more than the whole file system of worker1: " in done.err
    assert site.slices() == []

    site.apply(site.write(SLICE))
    done = site.run("apply", "--auto-approve", site.write(wanted))
    assert done.code == 1, done.told
    assert "disk/admin/huge/web has 500TiB" in done.err
    site.in_sync(site.write(SLICE))
