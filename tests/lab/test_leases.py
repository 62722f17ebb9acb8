"""A holder that was paused past its lease changes nothing more; one that works keeps it however long that takes.

Clients and shells are stopped by signals at known points: while a host's operation lock is held up, what is sent there
waits.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from reconciler.plan.record import Recorded
from reconciler.state.sql import open_store
from reconciler.workflow import load
from tests.lab.census import Census, census, settled
from tests.lab.site import EXAMPLES, Done, Running, Site, held_up

pytestmark = pytest.mark.lab

FILE = EXAMPLES / "two-vms.yaml"


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
