"""An apply that is killed, interrupted, or meets another apply loses nothing, and the next one completes it.

Where two things must happen at once, the test holds a host's operation lock: what is sent there waits for its release.
"""

from __future__ import annotations

import re
import signal
import socket

import pytest

from tests.lab.census import Census, census, settled
from tests.lab.site import EXAMPLES, Running, Site, held_up, wait_until

pytestmark = pytest.mark.lab

FILE = EXAMPLES / "two-vms.yaml"
STEPS = 19  # of the example on an empty lab


@pytest.fixture(scope="module")
def undisturbed(module_site: Site) -> Census:
    """Return what the lab carries once the example was applied by itself; it is destroyed again."""
    done = module_site.apply(FILE)
    assert done.err.count(": created in ") == STEPS
    # The last that QEMU does as it starts is to listen; a guest that boots changes nothing that is counted.
    found = census(module_site.lab)
    module_site.destroy("two-vms")
    return found


def check_converges(site: Site, undisturbed: Census) -> None:
    """Apply once more, and check that nothing is missing, doubled or left over."""
    again = site.apply(FILE)
    assert "Apply complete" in again.out or "No changes." in again.out
    assert settled(site.lab, undisturbed) == []
    site.in_sync(FILE)
    shown = site.show("two-vms")
    assert (shown["id"], [vm["id"] for vm in shown["vms"]]) == (1000, [1001, 1002]), "no number was lost"


def begin(site: Site) -> Running:
    """Start to apply the example."""
    return site.start("apply", "--auto-approve", FILE)


@pytest.mark.parametrize("steps", [1, STEPS // 2, STEPS - 1])
def test_killed_after_so_many_steps(steps: int, site: Site, undisturbed: Census) -> None:
    killed = begin(site)
    killed.wait_for_lines(steps, ": created in ")
    killed.signal(signal.SIGKILL)
    assert killed.finish().code == -signal.SIGKILL
    check_converges(site, undisturbed)


@pytest.mark.parametrize("host", ["worker1", "gateway"])
def test_killed_while_a_host_has_yet_to_work(host: str, site: Site, undisturbed: Census) -> None:
    with held_up(site.lab, host):
        killed = begin(site)
        killed.wait_for_lines(3, ": created in ")
        killed.signal(signal.SIGKILL)
        killed.finish()
    check_converges(site, undisturbed)


def test_killed_while_it_destroys(site: Site) -> None:
    empty = census(site.lab)
    site.apply(FILE)
    killed = site.start("destroy", "--auto-approve", "two-vms")
    killed.wait_for_lines(6, ": deleted in ")
    killed.signal(signal.SIGKILL)
    killed.finish()
    site.destroy("two-vms")
    assert settled(site.lab, empty) == []
    assert site.slices() == []


def test_ctrl_c_finishes_what_is_in_flight(site: Site, undisturbed: Census) -> None:
    with held_up(site.lab, "worker1"):
        running = begin(site)
        running.wait_for_lines(3, "gateway", ": created in ")
        running.signal(signal.SIGINT)
        running.wait_for_lines(1, "Interrupted: finishing steps in flight")
        assert running.process.poll() is None, "worker1 has not answered yet"
    done = running.finish()
    assert done.code == 130, done.told
    assert re.search(r"not started: \d+", done.out)
    assert site.show("two-vms")["sync"] == "OutOfSync"
    assert "Plan: " in site.do("plan", FILE).out
    check_converges(site, undisturbed)


def test_ctrl_c_twice_aborts(site: Site, undisturbed: Census) -> None:
    with held_up(site.lab, "worker1"):
        running = begin(site)
        running.wait_for_lines(3, "gateway", ": created in ")
        running.signal(signal.SIGINT)
        running.wait_for_lines(1, "Interrupted: finishing steps in flight")
        running.signal(signal.SIGINT)
        done = running.finish()
        assert done.code == 130, done.told
    check_converges(site, undisturbed)


def test_of_two_applies_one_works_and_the_other_says_who_does(site: Site, undisturbed: Census) -> None:
    with held_up(site.lab, "worker2"):
        first = begin(site)
        first.wait_for_output("Plan: ")
        wait_until(
            lambda: site.run("apply", "--auto-approve", FILE).code == 1, "the first to hold the slice", within=20
        )
        second = site.run("apply", "--auto-approve", FILE)
        assert second.code == 1, second.told
        assert "error[state-locked]" in second.err
        assert "admin/two-vms" in second.err
        assert socket.gethostname() in second.err
        assert str(first.process.pid) in second.err
        assert re.search(r"since \d{4}-\d\d-\d\d[ T]\d\d:\d\d", second.err)
        assert second.out == "", "nothing was planned, nothing was done"
    done = first.finish()
    assert done.code == 0, done.told
    assert settled(site.lab, undisturbed) == []
    site.in_sync(FILE)


def test_applies_of_two_slices_wait_for_each_other_where_they_share(site: Site) -> None:
    with held_up(site.lab, "worker2"):
        first = begin(site)
        first.wait_for_lines(1, ": created in ")
        second = site.start("apply", "--auto-approve", EXAMPLES / "internet-only.yaml")
        second.wait_for_lines(1, "waiting: what slices share is being changed by ", f"(pid {first.process.pid})")
    done = [first.finish(), second.finish()]
    assert [one.code for one in done] == [0, 0], "".join(one.told for one in done)
    site.in_sync(FILE)
    site.in_sync(EXAMPLES / "internet-only.yaml")
