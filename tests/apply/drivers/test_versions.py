"""What an earlier version made is not made again because this version makes it in another way."""

from __future__ import annotations

from dataclasses import replace

from reconciler.apply.drivers import vm as driver
from reconciler.apply.drivers.qemu import launch
from reconciler.apply.drivers.vm import Process, VmFact
from reconciler.apply.transport.command import Command
from reconciler.plan.resources import Vm, from_data, to_data
from reconciler.spec.models.names import Bytes
from tests.apply.drivers.earlier import earlier_launch
from tests.apply.drivers.sample import SEED, VM


def test_a_vm_that_runs_without_a_disk_for_its_network_is_not_restarted() -> None:
    written = launch(VM)
    at = next(number for number, value in enumerate(written) if "network.iso" in value)
    earlier = (*written[: at - 1], *written[at + 3 :])
    assert not any("network" in value for value in earlier)
    assert driver.ensure(VM, VmFact((Process(7, earlier),), left=True), None) == ()
    assert driver.ensure(VM, VmFact((Process(7, written),), left=True), None) == ()


def test_a_vm_that_runs_as_root_with_a_log_without_bounds_is_not_restarted() -> None:
    written, earlier = launch(VM), earlier_launch(VM)
    assert f"unix:{VM.directory}/qmp.sock,server=on,wait=off" in earlier
    assert any(value.endswith(f"logfile={VM.directory}/serial.log") for value in earlier)
    fact = VmFact((Process(7, earlier),), left=True)
    assert driver.ensure(VM, fact, None) == ()
    assert driver.observed(VM, fact) == driver.observed(VM, VmFact((Process(7, written),), left=True))


def test_a_vm_in_a_state_of_an_earlier_version_has_no_user_and_is_not_restarted() -> None:
    data = to_data(VM)
    del data["uid"]
    known = from_data(data)
    assert isinstance(known, Vm)
    assert (known.uid, known) == (0, VM)


def test_a_vm_in_a_state_of_an_earlier_version_has_the_default_limit_of_its_log() -> None:
    data = to_data(VM)
    del data["serial_log"]
    assert from_data(data) == VM


def test_another_limit_of_the_log_does_not_restart_a_vm() -> None:
    larger = replace(VM, serial_log=Bytes(2**30))
    fact = VmFact((Process(7, launch(VM)),), left=True)
    assert driver.ensure(larger, fact, VM) == ()
    (start,) = driver.ensure(larger, VmFact((), left=False), VM)
    assert isinstance(start, Command)
    assert start.argv[4:7] == (VM.directory, str(2**30), str(VM.uid))


def test_a_seed_in_a_state_of_an_earlier_version_has_no_macs() -> None:
    data = to_data(SEED)
    del data["macs"]
    assert from_data(data) != SEED
    assert from_data(data).address == SEED.address
