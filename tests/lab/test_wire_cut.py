"""A connection that is cut, silent or refused loses nothing: the host is probed before a retry."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator

import pytest

from tests.lab.census import Census, census, settled
from tests.lab.gate import gate
from tests.lab.site import Running, Site, on_host, wait_until
from tests.lab.wire import Wired

pytestmark = pytest.mark.lab

# Two overlays are made on worker1, where the gate is; worker3 shares no link with it.
SLICE = """
version: 1
name: cut
owner: admin
defaults: {flavor: cirros}
vms:
  a: {worker: worker1}
  b: {worker: worker1}
  c: {worker: worker2}
  d: {worker: worker3}
links:
  - [a, c]
  - [b, c]
"""
GIVE_UP = 13.0  # seconds; a silent host is given up after ten, and the machine may be busy


@pytest.fixture(scope="module")
def undisturbed(module_site: Site) -> Census:
    """Return what the lab carries once the slice was applied over wires without faults; it is destroyed again."""
    with Wired.around(module_site) as wired:
        wired.apply(wired.write(SLICE))
        found = census(wired.lab)
        wired.destroy("cut")
    return found


@pytest.fixture
def wired(site: Site) -> Iterator[Wired]:
    with Wired.around(site) as made:
        made.write(SLICE)
        yield made


def begin(wired: Wired) -> Running:
    return wired.start("apply", "--auto-approve", wired.folder / "cut.yaml")


def check_converges(wired: Wired, undisturbed: Census) -> None:
    """Apply once more, and see that nothing is lacking, doubled or left over."""
    wired.apply(wired.folder / "cut.yaml")
    assert settled(wired.lab, undisturbed) == []
    wired.in_sync(wired.folder / "cut.yaml")


def wait_for_lock_waiter(wired: Wired) -> None:
    wait_until(lambda: on_host(wired.lab, "worker1", "pgrep -x flock || :") != "", "someone to wait for the lock")


def steps_told(output: str, what: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith(f"{what}: ")]


def test_cut_in_mid_batch_it_looks_and_completes(wired: Wired, undisturbed: Census) -> None:
    with gate(wired.lab, "worker1") as held:
        running = begin(wired)
        held.wait_for_callers(1)
        wired.wires["worker1"].cut()
        running.wait_for_lines(1, "worker1", "connection lost, trying again")
        wait_for_lock_waiter(wired)
        assert held.callers == 1, "what still runs there is waited for"
        held.open()
        done = running.finish()
        assert done.code == 0, done.told
        assert held.callers == 2, "the overlay that was under way is seen, not made again"
    assert "unknown" not in done.out + done.err
    check_converges(wired, undisturbed)


def test_cut_twice_it_is_unknown(wired: Wired, undisturbed: Census) -> None:
    with gate(wired.lab, "worker1") as held:
        running = begin(wired)
        for caller in (1, 2):
            held.wait_for_callers(caller)
            wired.wires["worker1"].cut()
            if caller == 1:
                running.wait_for_lines(1, "worker1", "connection lost, trying again")
            held.let_in(caller)
        done = running.finish()
    assert done.code == 1, done.told
    assert "worker1" in "".join(steps_told(done.out, "unknown")), done.told
    assert "vm/admin/cut/d: created in" in done.err, "the others finish"
    assert "Apply incomplete" in done.out
    check_converges(wired, undisturbed)


def test_a_client_that_has_gone_is_waited_for_on_the_host(wired: Wired, undisturbed: Census) -> None:
    with gate(wired.lab, "worker1") as held:
        gone = begin(wired)
        held.wait_for_callers(1)
        gone.signal(signal.SIGKILL)
        gone.finish()
        again = begin(wired)
        wait_for_lock_waiter(wired)
        assert held.callers == 1
        held.open()
        done = again.finish()
        assert done.code == 0, done.told
        assert held.callers == 2
    check_converges(wired, undisturbed)


def test_cut_during_an_upload_it_is_sent_again(wired: Wired, undisturbed: Census) -> None:
    wired.wires["worker1"].cut_after(to_host=4_000_000)
    done = begin(wired).finish()
    assert done.code == 0, done.told
    assert re.search("worker1 .*connection lost, trying again", done.err), done.told
    assert done.err.count("image/cirros-") == 3, "one for each worker"
    assert on_host(wired.lab, "worker1", "find /var/lib/reconciler -name '*.partial*'") == ""
    check_converges(wired, undisturbed)


def test_a_frozen_sshd_is_noticed_and_the_apply_completes(wired: Wired, undisturbed: Census) -> None:
    with gate(wired.lab, "worker1") as held:
        running = begin(wired)
        held.wait_for_callers(1)
        frozen = on_host(wired.lab, "worker1", "pids=$(pgrep -x sshd); kill -STOP $pids; echo $pids")
        since = time.monotonic()
        running.wait_for_lines(1, "worker1", "connection lost, trying again")
        assert time.monotonic() - since < GIVE_UP
        held.open()
        done = running.finish()
        on_host(wired.lab, "worker1", f"kill -KILL {frozen}")
    assert done.code == 0, done.told
    check_converges(wired, undisturbed)


def test_a_host_that_falls_silent_leaves_its_steps_unknown(wired: Wired, undisturbed: Census) -> None:
    with gate(wired.lab, "worker1") as held:
        running = begin(wired)
        held.wait_for_callers(1)
        wired.wires["worker1"].faults.silent = True
        since = time.monotonic()
        held.open()
        running.wait_for_lines(1, "worker1", "connection lost, trying again")
        assert time.monotonic() - since < GIVE_UP
        done = running.finish()
    assert done.code == 1, done.told
    assert "worker1" in "".join(steps_told(done.out, "unknown")), done.told
    for name in ("c", "d"):
        assert f"vm/admin/cut/{name}: created in" in done.err, "the others finish"
    wired.wires["worker1"].faults.silent = False
    check_converges(wired, undisturbed)


def test_a_host_that_does_not_answer_keeps_nobody_else_waiting(wired: Wired, undisturbed: Census) -> None:
    wired.wires["gateway"].faults.silent = True
    since = time.monotonic()
    done = begin(wired).finish()
    assert time.monotonic() - since < 4 * GIVE_UP
    assert done.code == 1, done.told
    failed, skipped = steps_told(done.out, "failed"), steps_told(done.out, "skipped")
    assert failed, done.told
    assert all("gateway: " in line and "did not answer in time" in line for line in failed)
    assert "image/cirros-" in done.err, "the others finish what needs nothing of it"
    assert skipped, done.told
    assert all("gateway" in line for line in skipped)
    assert re.search(
        r"Apply incomplete in .*: [1-9]\d* added, .* Steps: [1-9]\d* failed, [1-9]\d* skipped", done.out
    ), done.told
    wired.wires["gateway"].faults.silent = False
    check_converges(wired, undisturbed)


def test_an_sshd_that_restarts_is_come_back_to(wired: Wired, undisturbed: Census) -> None:
    wire = wired.wires["worker1"]
    wire.turn_away(2)
    wired.wires["worker2"].refuse()
    running = begin(wired)
    wait_until(lambda: wire.seen.connections == 3, "two connections to be turned away, and a third to be let in")
    wired.wires["worker2"].admit()
    done = running.finish()
    assert done.code == 0, done.told
    assert "connection lost" not in done.err
    check_converges(wired, undisturbed)
