"""What an earlier version made is not made again because this version makes it in another way."""

from __future__ import annotations

from reconciler.apply.drivers import vm as driver
from reconciler.apply.drivers.vm import Process, VmFact
from reconciler.plan.resources import from_data, to_data
from tests.apply.drivers.sample import SEED, VM


def test_a_vm_that_runs_without_a_disk_for_its_network_is_not_restarted() -> None:
    written = driver.launch(VM)
    at = next(number for number, value in enumerate(written) if "network.iso" in value)
    earlier = (*written[: at - 1], *written[at + 3 :])
    assert not any("network" in value for value in earlier)
    assert driver.ensure(VM, VmFact((Process(7, earlier),), left=True), None) == ()
    assert driver.ensure(VM, VmFact((Process(7, written),), left=True), None) == ()


def test_a_seed_in_a_state_of_an_earlier_version_has_no_macs() -> None:
    data = to_data(SEED)
    del data["macs"]
    assert from_data(data) != SEED
    assert from_data(data).address == SEED.address
