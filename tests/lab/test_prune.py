"""`apply --prune` on hosts: slices without a file are destroyed, the others are repaired."""

from __future__ import annotations

import pytest

from tests.lab.census import census, settled
from tests.lab.site import Site, on_host

pytestmark = pytest.mark.lab


def slice_text(name: str, worker: str) -> str:
    return f"version: 1\nname: {name}\nowner: admin\ndefaults: {{flavor: cirros}}\nvms:\n  a: {{worker: {worker}}}\n"


def test_pruned_slices_go_and_the_others_are_repaired(site: Site) -> None:
    folder = site.folder / "slices"
    folder.mkdir()
    (folder / "kept.yaml").write_text(slice_text("kept", "worker1"))
    site.apply(folder)
    alone = census(site.lab)
    (folder / "gone.yaml").write_text(slice_text("gone", "worker2"))
    site.apply(folder)

    (folder / "gone.yaml").unlink()
    (kept,), (gone,) = site.vms("kept").values(), site.vms("gone").values()
    for vm in (kept, gone):
        on_host(site.lab, vm.worker, f"kill -9 {vm.pid}; while kill -0 {vm.pid} 2> /dev/null; do sleep 0.05; done")
    done = site.do("apply", "--auto-approve", "--prune", folder)
    assert "create: gone from worker1" in done.out
    assert "create: gone from worker2" not in done.out
    assert site.slices() == ["admin/kept"]
    assert settled(site.lab, alone) == []
    site.in_sync(folder)
