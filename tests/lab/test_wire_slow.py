"""A slow link, by its delay or its bandwidth, changes how long an apply takes, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from reconciler.apply.transport.ssh import SshConnector
from reconciler.errors import HostUnreachable
from reconciler.spec.load import load_cluster
from reconciler.spec.models.names import HostName
from reconciler.trees import DISK
from tests.lab.site import Site, on_host, wait_until
from tests.lab.wire import Wired

pytestmark = pytest.mark.lab


@pytest.fixture
def wired(site: Site) -> Iterator[Wired]:
    with Wired.around(site) as made:
        yield made


def row_of(count: int) -> str:
    """Write a slice of VMs in a row, on two workers by turns."""
    vms = "\n".join(f"  n{at}: {{worker: worker{at % 2 + 1}}}" for at in range(count))
    links = "\n".join(f"  - [n{at}, n{at + 1}]" for at in range(count - 1))
    return f"version: 1\nname: row\nowner: admin\ndefaults: {{flavor: cirros}}\nvms:\n{vms}\nlinks:\n{links}\n"


# Brings the image to both workers, so that what is measured is commands.
BEDS = """
version: 1
name: beds
owner: admin
defaults: {flavor: cirros}
vms: {a: {worker: worker1}, b: {worker: worker2}}
"""


def test_a_slow_link_costs_time_for_each_batch_and_not_for_each_command(wired: Wired) -> None:
    wired.apply(wired.write(BEDS))
    turns, steps = {}, {}
    for count in (2, 6):
        path = wired.write(row_of(count))
        wired.worsen(delay=0.2, stall_chance=0.02)
        before = wired.turns
        slow = wired.apply(path)
        wired.worsen()
        turns[count], steps[count] = wired.turns - before, slow.err.count(": created in ")
        assert "Apply complete" in slow.out
        wired.in_sync(path)
        wired.destroy("row")
    assert steps[6] > 2 * steps[2]
    assert turns[6] < 1.2 * turns[2], "more commands go in as many batches"


ONE = """
version: 1
name: narrow
owner: admin
defaults: {flavor: cirros}
vms: {a: {worker: worker1}}
"""
CONTENT = bytes(240_000)  # far more than is acknowledged at a time
UPLOADED = "/var/lib/reconciler/images/uploaded.test"
NARROW = 20_000  # bytes a second
GIVE_UP = 13.0  # seconds; a silent host is given up after ten, and the machine may be busy


async def upload(wired: Wired) -> None:
    """Upload a file to worker2 over a single connection."""
    connector = SshConnector(load_cluster(DISK, wired.cluster).cluster)
    try:
        await (await connector.connect(HostName("worker2"))).put(CONTENT, UPLOADED)
    finally:
        await connector.close()


@pytest.fixture
def folder(wired: Wired) -> Iterator[None]:
    on_host(wired.lab, "worker2", "mkdir -p /var/lib/reconciler/images")
    yield
    on_host(wired.lab, "worker2", f"rm -f {UPLOADED}; rmdir --ignore-fail-on-non-empty /var/lib/reconciler/images")


@pytest.mark.usefixtures("folder")
def test_an_upload_fills_a_narrow_link_and_the_host_is_not_taken_for_dead(wired: Wired) -> None:
    wired.wires["worker1"].faults.rate = 1_500_000
    wired.wires["worker2"].faults.rate = NARROW
    running = wired.start("apply", "--auto-approve", wired.write(ONE))
    since = time.monotonic()
    try:
        asyncio.run(upload(wired))
    finally:
        done = running.finish()
    assert time.monotonic() - since > 0.9 * len(CONTENT) / NARROW, "the link was as narrow as it was to be"
    assert on_host(wired.lab, "worker2", f"stat -c %s {UPLOADED}") == str(len(CONTENT))
    assert done.code == 0, done.told
    assert "connection lost" not in done.err
    wired.in_sync(wired.folder / "narrow.yaml")


@pytest.mark.usefixtures("folder")
def test_a_host_that_falls_silent_during_an_upload_is_given_up(wired: Wired) -> None:
    wire = wired.wires["worker2"]
    wire.faults.rate = NARROW

    async def upload_until_silent() -> float:
        uploading = asyncio.create_task(upload(wired))
        await asyncio.sleep(3)
        wire.faults.silent = True
        since = time.monotonic()
        with pytest.raises(HostUnreachable):
            await uploading
        return time.monotonic() - since

    assert asyncio.run(upload_until_silent()) < GIVE_UP
    wire.cut()
    wait_until(lambda: on_host(wired.lab, "worker2", f"ls {UPLOADED}* || :") == "", "the half of the file to go")
