"""A process that exists is no VM that runs: what QEMU says of its guest counts."""

from __future__ import annotations

import pytest

from reconciler.apply.drivers import vm as driver
from reconciler.apply.drivers.qemu import launch
from reconciler.apply.drivers.vm import CONTINUE, START, STOP, Process, VmFact
from reconciler.apply.transport.command import Command
from tests.apply.drivers.sample import VM


def fact(state: str) -> VmFact:
    return VmFact((Process(7, launch(VM)),), left=True, run_state=state)


def scripts(state: str) -> list[str]:
    found = driver.ensure(VM, fact(state), None)
    assert all(isinstance(one, Command) for one in found)
    known = {START: "start", STOP: "stop", CONTINUE: "continue"}
    return [known[one.argv[2]] for one in found if isinstance(one, Command)]


@pytest.mark.parametrize("state", ["paused", "io-error", "watchdog"])
def test_a_guest_that_was_stopped_is_drift_and_goes_on(state: str) -> None:
    assert (driver.observed(VM, fact(state)) or {})["run_state"] == state
    assert scripts(state) == ["continue"]


@pytest.mark.parametrize("state", ["guest-panicked", "internal-error", "shutdown"])
def test_a_guest_that_has_crashed_is_drift_and_is_started_again(state: str) -> None:
    assert (driver.observed(VM, fact(state)) or {})["run_state"] == state
    assert scripts(state) == ["stop", "start"]


@pytest.mark.parametrize("state", ["running", "suspended", "save-vm", ""])
def test_a_guest_that_sleeps_by_itself_or_of_which_nothing_is_known_is_left_alone(state: str) -> None:
    assert (driver.observed(VM, fact(state)) or {})["run_state"] == "running"
    assert scripts(state) == []
