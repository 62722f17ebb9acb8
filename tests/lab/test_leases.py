"""A holder that was paused past its lease changes nothing more; one that works keeps it however long that takes.

Clients and shells are stopped by signals at known points: while a host's operation lock is held up, what is sent there
waits.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.plan.record import Recorded
from reconciler.state.sql import open_store
from reconciler.workflow import load
from tests.lab.census import Census, census, differences, settled
from tests.lab.site import EXAMPLES, Done, Running, Site, held_up, on_host, wait_until

pytestmark = pytest.mark.lab

FILE = EXAMPLES / "two-vms.yaml"
BATCHES = ("sh -s", "flock -x -w 60 9")


@pytest.fixture(autouse=True)
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases run out soon; a renewal is due three times a second."""
    monkeypatch.setenv("RECONCILER_LEASE_TTL", "2s")


def begin(site: Site) -> Running:
    """Start to apply the example."""
    return site.start("apply", "--auto-approve", FILE)


def take_over(site: Site, first: Running) -> None:
    """Apply the example once the lease of another has run out."""
    done = site.do("apply", "--auto-approve", "--lock-timeout", "60s", FILE)
    assert "waiting: admin/two-vms is being changed by " in done.err
    assert f"(pid {first.process.pid})" in done.err
    assert "Apply complete" in done.out
    site.in_sync(FILE)


def record(site: Site) -> Recorded:
    """Read the whole record."""
    cluster = load(site.cluster, ()).cluster.cluster
    store = open_store(site.folder / "state.db", cluster=cluster.name, clock=lambda: datetime.now(UTC), read_only=True)
    try:
        return store.read()
    finally:
        store.close()


def check_refused(site: Site, done: Done, before: tuple[Census, Recorded]) -> None:
    """See that an apply stopped with the sentence, and that hosts and record are as they were before it went on."""
    assert done.code == 1, done.told
    assert "error[state-lost]: admin/two-vms was taken over by " in done.err
    assert "so nothing more is changed here" in done.err
    assert "Apply incomplete" in done.out
    assert (settled(site.lab, before[0]), record(site)) == ([], before[1])
    site.in_sync(FILE)


@contextmanager
def sent_to_worker1(site: Site) -> Iterator[tuple[Running, str]]:
    """Hold worker1 up while it has a batch that starts a VM; yields its sender, and the process that waits there.

    The VM needs what the gateway does, so the gateway is held up until worker1 has done all else.
    """
    with ExitStack() as later:
        with held_up(site.lab, "gateway"):
            first = begin(site)
            first.wait_for_lines(5, "worker1", ": created in ")
            later.enter_context(held_up(site.lab, "worker1"))
        yield first, waits_for_lock(site, "-x")


def waits_for_lock(site: Site, mode: str) -> str:
    """Wait until something on worker1 waits for the operation lock, and return its process there."""
    find = f"pgrep -f '^flock {mode} -w 60 9' || true"
    wait_until(lambda: bool(on_host(site.lab, "worker1", find)), "a batch to wait at worker1")
    return on_host(site.lab, "worker1", find)


def without_batches(found: Census) -> Census:
    """Leave out the processes of batches that wait."""
    return {
        host: replace(one, processes=tuple(line for line in one.processes if not line.strip().endswith(BATCHES)))
        for host, one in found.items()
    }


@contextmanager
def resumed(running: Running) -> Iterator[None]:
    """Stop a client while the block runs."""
    running.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        running.signal(signal.SIGCONT)


def test_who_was_paused_past_its_lease_changes_nothing(site: Site) -> None:
    with held_up(site.lab, "worker2"):
        first = begin(site)
        first.wait_for_lines(5, "worker1", ": created in ")
        first.signal(signal.SIGSTOP)
    with resumed(first):
        take_over(site, first)
        before = census(site.lab), record(site)
    check_refused(site, first.finish(), before)


def test_a_batch_that_was_sent_before_the_pause_is_refused_by_the_host(site: Site) -> None:
    with sent_to_worker1(site) as (first, waiting):
        first.signal(signal.SIGSTOP)
        on_host(site.lab, "worker1", f"kill -STOP {waiting}")
    with resumed(first):
        take_over(site, first)
        before = without_batches(census(site.lab)), record(site)
        on_host(site.lab, "worker1", f"kill -CONT {waiting}")
        wait_until(lambda: differences(before[0], census(site.lab)) == [], "the batch to end, with no other trace")
    check_refused(site, first.finish(), before)


def test_what_a_dead_client_left_running_is_waited_for(site: Site) -> None:
    with sent_to_worker1(site) as (first, waiting):
        shell = on_host(site.lab, "worker1", f"cut -d ' ' -f 4 /proc/{waiting}/stat")
        on_host(site.lab, "worker1", f"kill -STOP {shell}")
    wait_until(lambda: not on_host(site.lab, "worker1", f"pgrep -P {shell} || true"), "the batch to get the lock")
    first.signal(signal.SIGKILL)
    first.finish()
    second = begin(site)
    waits_for_lock(site, "-s")
    assert second.process.poll() is None
    on_host(site.lab, "worker1", f"kill -CONT {shell}")
    done = second.finish()
    assert done.code == 0, done.told
    site.in_sync(FILE)


def test_a_working_apply_keeps_its_lease(site: Site) -> None:
    with held_up(site.lab, "worker2"):
        first = begin(site)
        first.wait_for_lines(1, ": created in ")
        second = site.run("apply", "--auto-approve", "--lock-timeout", "5s", FILE)
        assert second.code == 1, second.told
        assert "error[state-locked]: admin/two-vms is being changed by " in second.err
        assert f"(pid {first.process.pid})" in second.err
        assert "last sign of life " in second.err
        assert "reconciler unlock admin/two-vms" in second.err
    done = first.finish()
    assert done.code == 0, done.told
    site.in_sync(FILE)
