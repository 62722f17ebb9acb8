"""A holder that was paused past its lease changes nothing more; one that works keeps it however long that takes.

Clients and shells are stopped by signals at known points: while a host's operation lock is held up, what is sent there
waits.
"""

from __future__ import annotations

import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.plan import resources
from reconciler.plan.snapshot import StateSnapshot, Status
from reconciler.state.sql.store import SqlStore, open_store
from reconciler.state.store import Lock
from reconciler.workflow import load
from tests.lab.census import Census, census, differences, settled
from tests.lab.site import EXAMPLES, Done, Running, Site, held_up, on_host, wait_until

pytestmark = pytest.mark.lab

FILE = EXAMPLES / "two-vms.yaml"
# A slice of that name on one host, so that nothing is under way on any other.
ALONE = """
version: 1
name: two-vms
owner: admin
defaults: {flavor: cirros}
vms: {a: {worker: worker2}}
"""


@pytest.fixture(autouse=True)
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases run out soon; a renewal is due three times a second."""
    monkeypatch.setenv("RECONCILER_LEASE_TTL", "2s")


def pause(site: Site, running: Running) -> None:
    """Stop a client outside any transaction: one that is stopped inside of one keeps the database locked."""
    running.signal(signal.SIGSTOP)
    while not writable(site.folder / "state.db"):
        running.signal(signal.SIGCONT)
        time.sleep(0.02)
        running.signal(signal.SIGSTOP)


def writable(database: Path) -> bool:
    """Return whether a transaction that writes can begin."""
    with closing(sqlite3.connect(database, timeout=0.2, isolation_level=None)) as connection:
        with suppress(sqlite3.OperationalError):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            return True
        return False


def begin(site: Site, file: Path = FILE) -> Running:
    """Start to apply the example."""
    return site.start("apply", "--auto-approve", file)


def take_over(site: Site, first: Running, file: Path = FILE) -> None:
    """Apply the example once the lease of another has run out."""
    done = site.do("apply", "--auto-approve", "--lock-timeout", "60s", file)
    assert "waiting: admin/two-vms is being changed by " in done.err
    assert f"(pid {first.process.pid})" in done.err
    assert "Apply complete" in done.out
    site.in_sync(file)


@contextmanager
def opened(site: Site) -> Iterator[SqlStore]:
    """Open the state to read it."""
    cluster = load(site.cluster, ()).cluster.cluster
    store = open_store(site.folder / "state.db", cluster=cluster.name, clock=lambda: datetime.now(UTC), read_only=True)
    try:
        yield store
    finally:
        store.close()


def state_of(site: Site) -> StateSnapshot:
    """Read the whole state."""
    with opened(site) as store:
        return store.read()


def lock_of(site: Site) -> Lock:
    """Read the lock of the example."""
    with opened(site) as store:
        return next(lock for lock in store.locks() if lock.name == "admin/two-vms")


def check_refused(site: Site, done: Done, before: tuple[Census, StateSnapshot], file: Path = FILE) -> None:
    """Check that an apply stopped with the message, and that hosts and state are as they were before it went on."""
    assert done.code == 1, done.told
    assert "error[state-lost]: admin/two-vms was taken over by " in done.err
    assert "so this apply changes nothing more" in done.err
    assert "Apply incomplete" in done.out
    assert (settled(site.lab, before[0]), state_of(site)) == ([], before[1])
    site.in_sync(file)


@contextmanager
def resumed(running: Running) -> Iterator[None]:
    """Stop a client while the block runs."""
    running.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        running.signal(signal.SIGCONT)


def test_a_holder_that_was_paused_past_its_lease_changes_nothing(site: Site) -> None:
    with held_up(site.lab, "worker2"):
        first = begin(site)
        first.wait_for_lines(5, "worker1", ": created in ")
        pause(site, first)
    with resumed(first):
        take_over(site, first)
        before = census(site.lab), state_of(site)
    check_refused(site, first.finish(), before)


def test_a_working_apply_keeps_its_lease(site: Site) -> None:
    with held_up(site.lab, "worker2"):
        first = begin(site)
        first.wait_for_lines(1, ": created in ")
        second = site.run("apply", "--auto-approve", "--lock-timeout", "5s", FILE)
        assert second.code == 1, second.told
        assert "error[state-locked]: admin/two-vms is being changed by " in second.err
        assert f"(pid {first.process.pid})" in second.err
        assert "last renewed at " in second.err
        assert "reconciler unlock admin/two-vms" in second.err
    done = first.finish()
    assert done.code == 0, done.told
    site.in_sync(FILE)


def waiting(site: Site) -> str:
    """Return the processes that wait for the operation lock of worker2."""
    return on_host(site.lab, "worker2", "pgrep -x flock || :")


def stop_before_vm(site: Site, first: Running) -> str:
    """Stop a client once what starts its VM waits on worker2 for the lock, and stop that too; return its process.

    What comes before is let through. Who has a lock next is the kernel's choice: what is stopped comes last.
    """
    while True:
        with held_up(site.lab, "worker2"):
            first.signal(signal.SIGCONT)
            wait_until(lambda: waiting(site) != "", "a batch to wait on its host")
            pause(site, first)
            begun = [entry.resource for entry in state_of(site).resources.values() if entry.status is Status.CREATING]
            if any(isinstance(resource, resources.Vm) for resource in begun):
                process = waiting(site)
                on_host(site.lab, "worker2", f"kill -STOP {process}")
                return process
        wait_until(lambda: waiting(site) == "", "the batch to pass")


def test_a_change_sent_before_its_lease_was_lost_is_refused_by_the_host(site: Site) -> None:
    alone = site.write(ALONE)
    first = begin(site, alone)
    process = stop_before_vm(site, first)
    with resumed(first):
        take_over(site, first, alone)
        waits = census(site.lab)
        on_host(site.lab, "worker2", f"kill -CONT {process}")
        wait_until(lambda: ended(differences(waits, census(site.lab))), "the old batch to end, and change nothing")
        before = census(site.lab), state_of(site)
    check_refused(site, first.finish(), before, alone)


def ended(found: list[str]) -> bool:
    """Return whether the only difference is that the processes of a batch have ended."""
    batch = re.compile("worker2 processes: lacks (flock -x|/bin/sh -s|sudo -n /bin/sh -s|sh -c sudo -n /bin/sh -s)")
    return len(found) == 4 and all(batch.match(line) for line in found)


@dataclass(frozen=True)
class Clock:
    """The wall clock of the commands that are started with it, which libfaketime shifts as a file says."""

    file: Path

    def jump(self, hours: int) -> None:
        """Set it so far from the real one."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{3600 * hours:+d}\n")
        new.replace(self.file)

    @contextmanager
    def shown(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        """Show it to the commands that are started in the block; it ticks as before where nobody jumps."""
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        with patch.context() as inner:
            inner.setenv("LD_PRELOAD", str(library))
            inner.setenv("FAKETIME_TIMESTAMP_FILE", str(self.file))
            inner.setenv("FAKETIME_NO_CACHE", "1")
            inner.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            yield


def ahead(site: Site) -> int:
    """Return how many hours ahead of the real time the lock was last renewed, by its holder's clock."""
    return round((lock_of(site).alive - datetime.now(UTC)) / timedelta(hours=1))


def test_a_clock_that_jumps_disturbs_nobody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    holders, waiters = Clock(site.folder / "holders-clock"), Clock(site.folder / "waiters-clock")
    holders.jump(0)
    waiters.jump(0)
    with held_up(site.lab, "worker2"):
        with holders.shown(monkeypatch):
            first = begin(site)
        first.wait_for_lines(1, ": created in ")
        with waiters.shown(monkeypatch):
            second = site.start("apply", "--auto-approve", "--lock-timeout", "6s", FILE)
        second.wait_for_lines(1, "waiting: admin/two-vms is being changed by ")
        since = time.monotonic()
        for hours in (1, -1):
            holders.jump(hours)
            wait_until(lambda: ahead(site) == hours, "a renewal")  # noqa: B023 - it is done once this returns
            waiters.jump(-hours)
            time.sleep(1)  # some renewals, and looks of who waits
        holders.jump(0)
        refused = second.finish()
        assert 4 < time.monotonic() - since < 15, "it waits for as long as it was told to"
        assert refused.code == 1, refused.told
        assert "error[state-locked]: admin/two-vms is being changed by " in refused.err
    done = first.finish()
    assert done.code == 0, done.told
    took = re.search(r"Apply complete in (\d+)", done.out)
    assert took is not None, done.told
    assert int(took[1]) < 60, done.told
    site.in_sync(FILE)
