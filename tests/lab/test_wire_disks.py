"""A full disk, of a host or of the state, stops what needs it with a clear error; with free space all completes."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.lab.census import Census, census, settled
from tests.lab.gate import gate
from tests.lab.site import Done, Site, on_host

pytestmark = pytest.mark.lab

KEPT = "/var/lib/reconciler"
SLICE = """
version: 1
name: disks
owner: admin
defaults: {flavor: cirros}
vms:
  a: {worker: worker1}
  b: {worker: worker2}
links:
  - [a, b]
"""


@pytest.fixture(scope="module")
def undisturbed(module_site: Site) -> Census:
    """Return what the lab carries once the slice was applied with room everywhere; it is destroyed again."""
    module_site.apply(module_site.write(SLICE))
    found = census(module_site.lab)
    module_site.destroy("disks")
    return found


def steps_told(output: str, what: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith(f"{what}: ")]


@contextmanager
def small_disk(site: Site) -> Iterator[None]:
    """Mount a small disk over what worker1 keeps; the slices are destroyed before it is unmounted."""
    # As large as its disks claim to be, or nothing would be tried; and full but for 1 MiB.
    on_host(site.lab, "worker1", f"mount -t tmpfs -o size=1200M,mode=755 small {KEPT}")
    on_host(site.lab, "worker1", f"head -c 1199M /dev/zero > {KEPT}/filler")
    try:
        yield
        site.destroy(*site.slices())
    finally:
        on_host(site.lab, "worker1", f"umount -l {KEPT}")


def test_a_worker_without_space(site: Site, undisturbed: Census) -> None:
    path = site.write(SLICE)
    worker = undisturbed["worker1"]
    mounted = replace(worker, kernel=tuple(sorted((*worker.kernel, f"{KEPT} tmpfs"))))
    with small_disk(site):
        full = site.run("apply", "--auto-approve", path)
        check_failed(full, "image/cirros")
        assert on_host(site.lab, "worker1", f"find {KEPT} -name '*.partial*' -o -name '*.qcow2' -o -name '*.img'") == ""

        # Now the image fits, and nothing else does.
        on_host(site.lab, "worker1", f"truncate -s 1136M {KEPT}/filler")
        with gate(site.lab, "worker1") as held:
            running = site.start("apply", "--auto-approve", path)
            held.wait_for_callers(1)
            on_host(site.lab, "worker1", f"cat /dev/zero >> {KEPT}/filler || :")
            held.open()
            full = running.finish()
        check_failed(full, "disk/admin/disks/a")
        assert on_host(site.lab, "worker1", f"find {KEPT}/vms -name '*.qcow2'") == "", "no overlay is half there"

        on_host(site.lab, "worker1", f"rm {KEPT}/filler")
        site.apply(path)
        assert settled(site.lab, {**undisturbed, "worker1": mounted}) == []
        site.in_sync(path)


def check_failed(full: Done, step: str) -> None:
    """Check that one step failed for lack of space, its dependents were skipped, and the other worker completed."""
    assert full.code == 1, full.told
    failed = steps_told(full.out, "failed")
    assert len(failed) == 1, full.told
    assert step in failed[0]
    assert "on worker1" in failed[0]
    assert "No space left on device" in failed[0], full.told
    assert any("vm/admin/disks/a" in line for line in steps_told(full.out, "skipped")), full.told
    assert "Traceback" not in full.err


@dataclass(frozen=True)
class OnSmallDisk(Site):
    """A site whose state is on a small disk; everything else is where it was."""

    disk: Path

    @property
    def state(self) -> Path:
        """The file of the state."""
        return self.disk / "state.db"

    def fill(self) -> None:
        """Leave no room on the disk."""
        with suppress(OSError), (self.disk / "filler").open("wb", buffering=0) as stream:
            while stream.write(bytes(4096)):
                pass

    def make_room(self) -> None:
        """Take away what fills the disk."""
        (self.disk / "filler").unlink(missing_ok=True)


@pytest.fixture
def small(site: Site, tmp_path: Path) -> Iterator[OnSmallDisk]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "small", disk], check=True)
    made = OnSmallDisk(site.lab, site.folder, site.cluster, disk)
    try:
        yield made
        made.make_room()
        made.destroy(*made.slices())
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def check_stopped(full: Done, state: Path) -> None:
    """Check that there is one clear error, and that the state is undamaged."""
    assert full.code == 1, full.told
    assert full.err.count("error[") == 1, full.told
    assert "disk is full" in full.err, full.told
    assert "make room on the disk" in full.err, full.told
    assert "Traceback" not in full.err
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_state_without_space(small: OnSmallDisk, undisturbed: Census) -> None:
    path = small.write(SLICE)
    before = census(small.lab)
    small.fill()
    none = small.run("apply", "--auto-approve", path)
    assert none.code == 1, none.told
    assert none.err.count("error[") == 1, none.told
    assert "No space left on device" in none.err or "disk is full" in none.err, none.told
    assert census(small.lab) == before, "nothing was begun that could not be written down"
    assert not small.state.exists(), "no part of a state is left"

    small.make_room()
    with gate(small.lab, "worker1") as held:
        running = small.start("apply", "--auto-approve", "--parallelism", "1", path)
        held.wait_for_callers(1)
        small.fill()
        held.open()
        full = running.finish()
    check_stopped(full, small.state)
    assert "vm/admin/disks/b: created" not in full.err, "worker2 had its turn after that, and no step was begun"
    assert small.slices() == ["admin/disks"], "what was written down before is still there"

    small.make_room()
    small.apply(path)
    assert settled(small.lab, undisturbed) == []
    small.in_sync(path)


@pytest.mark.parametrize(
    ("narrow", "wide", "words"),
    [("size=8k", "size=1m", "No space left on device"), ("ro", "rw", "Read-only file system")],
)
def test_init_where_it_cannot_write(site: Site, narrow: str, wide: str, words: str) -> None:
    disk = site.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", narrow, "small", disk], check=True)
    try:
        failed = site.run("init", disk)
        assert failed.code == 1, failed.told
        assert failed.err.startswith(f"error[usage]: {disk}/"), failed.told
        assert failed.err.count("error[") == failed.err.count(words) == 1, failed.told
        assert [path for path in disk.rglob("*") if path.is_file()] == []
        subprocess.run(["mount", "-o", f"remount,{wide}", disk], check=True)
        site.do("init", disk)
        assert sum(path.is_file() for path in disk.rglob("*")) == 4
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_worker_without_space_for_temporary_files(site: Site) -> None:
    path = site.write(SLICE)
    site.apply(path)
    full = "mount -t tmpfs -o size=16k,mode=1777 full /tmp; head -c 99999 /dev/zero > /tmp/fill 2> /dev/null || :"
    on_host(site.lab, "worker1", full)
    try:
        for words in (["drift"], ["doctor"], ["plan", "--refresh", path], ["apply", "--auto-approve", path]):
            done = site.run(*words)
            assert done.code == 1, done.told
            assert "no space left in /tmp" in done.told, done.told
            assert "ended with status" not in done.told
    finally:
        on_host(site.lab, "worker1", "umount /tmp")
    site.in_sync(path)
