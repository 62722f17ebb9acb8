"""A slow link that stalls changes how long an apply takes, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.site import Site
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
