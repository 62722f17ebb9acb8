"""A slow link that stalls changes how long an apply takes, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.census import census, settled
from tests.lab.site import Site, wait_until
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
RATE = 20_000  # bytes a second
AWHILE = 400_000  # bytes; at that rate, far longer than a silent host is waited for


def test_a_slow_link_costs_time_for_each_batch_and_not_for_each_command(wired: Wired) -> None:
    wired.apply(wired.write(BEDS))
    record = wired.folder / "state.db"
    before = record.read_bytes()
    path = wired.write(row_of(6))
    wired.apply(path)
    undisturbed = census(wired.lab)
    wired.destroy("row")
    record.write_bytes(before)  # so that the same numbers are given again

    turns, steps = {}, {}
    for count in (6, 2):
        path = wired.write(row_of(count))
        wired.worsen(delay=0.2, stall_chance=0.02)
        sent = wired.turns
        slow = wired.apply(path)
        wired.worsen()
        turns[count], steps[count] = wired.turns - sent, slow.err.count(": created in ")
        assert "Apply complete" in slow.out
        if count == 6:
            assert settled(wired.lab, undisturbed) == []
            wired.in_sync(path)
        wired.destroy("row")
    assert steps[6] > 2 * steps[2]
    assert turns[6] < 1.3 * turns[2], "more commands go in as many batches"


def test_an_upload_over_a_very_slow_link_is_not_taken_for_dead(wired: Wired) -> None:
    path = wired.write(row_of(2))
    wire = wired.wires["worker1"]
    wire.faults.rate = RATE
    running = wired.start("apply", "--auto-approve", path)
    wait_until(lambda: wire.seen.passed > AWHILE, "a part of the image to pass")
    wire.faults.rate = None
    done = running.finish()
    assert done.code == 0, done.told
    assert "connection lost" not in done.err
    assert wire.seen.connections == 1
