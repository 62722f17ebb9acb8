"""A cluster lives a term: twelve slices of three owners on four workers, and what happens to one in that time.

A worker is evacuated and serviced, switches restart, an image is renewed, the state is lost and rebuilt, an owner
leaves, and a worker dies and is replaced. After each, the disks still have what was written to them, and `verify` finds
that nobody hears another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler import lab as labs
from tests.lab.idle import idle_image, with_image
from tests.lab.site import Site, on_host
from tests.lab.test_one_state import LAB, lose
from tests.lab.test_switch_restart import RESTART

pytestmark = pytest.mark.lab

OWNERS = ("admin", "alice", "bob")


def with_changes(site: Site, name: str, change: Callable[[dict[str, Any]], None]) -> Site:
    """Return the site with another cluster file."""
    yaml = YAML(typ="safe")
    data = yaml.load(site.cluster)
    change(data)
    file = site.folder / f"{name}.yaml"
    with file.open("w") as stream:
        yaml.dump(data, stream)
    return replace(site, cluster=file)


def vms(site: Site, slices: Mapping[str, Path]) -> dict[str, tuple[str, str]]:
    """Return the worker of each VM, and the path of its disk."""
    return {
        f"{key}/{name}": (vm.worker, f"/var/lib/reconciler/vms/{vm.data['id']}/{name}_img.qcow2")
        for key in slices
        for name, vm in site.vms(key).items()
    }


def write_all(site: Site, slices: Mapping[str, Path]) -> dict[str, str]:
    """Write the number of each VM to its disk, as its guest does during the term; return the patterns."""
    patterns: dict[str, str] = {}
    for number, (name, (worker, disk)) in enumerate(vms(site, slices).items(), start=1):
        patterns[name] = f"0x{number:02x} 1M 64k"
        pid = f"$(cat {disk.rpartition('/')[0]}/qemu.pid)"
        on_host(site.lab, worker, f"pid={pid}; kill -KILL $pid; while [ -e /proc/$pid ]; do sleep 0.05; done")
        on_host(site.lab, worker, f"qemu-io -f qcow2 -c 'write -P {patterns[name]}' {disk}")
    site.apply(*slices.values())
    return patterns


def check(site: Site, slices: Mapping[str, Path], patterns: Mapping[str, str]) -> None:
    """Check that every disk has its pattern, that the network is as declared, and that there is nothing to do."""
    for name, (worker, disk) in vms(site, slices).items():
        if name in patterns:
            read = on_host(site.lab, worker, f"qemu-io -U -r -f qcow2 -c 'read -P {patterns[name]}' {disk}")
            assert "verification failed" not in read, f"{name} on {worker} lost its data"
            assert "65536/65536" in read
    site.do("verify")
    site.in_sync(*slices.values())


def remove_worker(data: dict[str, Any], name: str) -> None:
    data["workers"] = [worker for worker in data["workers"] if worker["name"] != name]


def test_a_term(own_site: Callable[..., Site]) -> None:
    whole = own_site(workers=4)
    site = with_changes(whole, "three-workers", lambda data: remove_worker(data, "worker4"))
    keys = [f"{owner}/lab{number}" for number in range(1, 5) for owner in OWNERS]
    slices: dict[str, Path] = {}
    for key in keys:
        owner, _, name = key.partition("/")
        slices[key] = site.write(LAB.format(name=f"{owner}-{name}", owner=owner))
    slices = {f"{key.partition('/')[0]}/{path.stem}": path for key, path in slices.items()}
    site.apply(*slices.values())
    patterns = write_all(site, slices)
    assert len(patterns) == 24
    check(site, slices, patterns)

    site.do("evacuate", "worker2", "--auto-approve", *slices.values())
    assert "worker2" not in {worker for worker, _ in vms(site, slices).values()}
    on_host(site.lab, "worker2", RESTART)
    site.do("uncordon", "worker2")
    check(site, slices, patterns)

    image = idle_image(site.folder)
    with image.open("ab") as file:
        file.write(bytes(512))
    site = replace(site, cluster=with_image(site.cluster, image, site.folder / "renewed.yaml"))
    on_host(site.lab, "worker1", RESTART)
    check(site, slices, patterns)

    lose(site)
    site.do("state", "rebuild", "--auto-approve")
    check(site, slices, patterns)

    leaving = [key for key in slices if key.startswith("bob/")]
    site.destroy(*leaving)
    site = with_changes(site, "without-bob", lambda data: data["users"].pop("bob"))
    slices = {key: path for key, path in slices.items() if key not in leaving}
    check(site, slices, patterns)

    lost = {name for name, (worker, _) in vms(site, slices).items() if worker == "worker3"}
    assert lost
    labs.pull_plug(site.lab.name, "worker3")
    fourth = next(worker for worker in YAML(typ="safe").load(whole.cluster)["workers"] if worker["name"] == "worker4")
    site = with_changes(site, "without-worker3", lambda data: remove_worker(data, "worker3"))
    site = with_changes(site, "replaced", lambda data: data["workers"].append(fourth))
    forgotten = site.do("forget", "worker3", "--auto-approve").err
    assert all(name in forgotten for name in lost)
    site.apply(*slices.values())
    check(site, slices, {name: pattern for name, pattern in patterns.items() if name not in lost})
    site.destroy(*slices)
    assert site.run("drift").code == 0
