"""QEMU's command line is recorded by a digest, and has what features need that change a VM while it runs."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import pairwise
from typing import cast

import pytest

from reconciler.apply.drivers import vm as driver
from reconciler.apply.drivers.monitor import MONITOR
from reconciler.apply.drivers.qemu import launch
from reconciler.apply.drivers.registry import DRIVERS
from reconciler.apply.drivers.vm import VmFact
from reconciler.apply.transport.command import Command
from reconciler.plan.resources.vm import LAUNCH
from tests.apply.drivers.realhost import RealHost, real_host
from tests.apply.drivers.sample import BASE, DISK, IMAGE, PORTS, SEED, VM

ASK = MONITOR + "eval { alarm(10); attach($ARGV[0]); print ask($ARGV[1], $ARGV[2]); }; print $@;"


def test_the_recorded_digest_is_that_of_the_command_line() -> None:
    lines = [launch(VM), launch(replace(VM, cloud_init=SEED.cloud_init, accelerator="kvm"))]
    digest = hashlib.sha256("\n".join(word for line in lines for word in line).encode()).hexdigest()[:12]
    assert digest == LAUNCH, "the command line has changed: write this digest into plan/resources/vm.py"


def test_devices_that_change_later_have_names() -> None:
    line = list(pairwise(launch(VM)))
    assert any(key == "-drive" and "id=disk0,node-name=overlay0" in value for key, value in line)
    nics = [value for key, value in line if key == "-device" and value.startswith("virtio-net-pci")]
    assert [value.split(",")[2] for value in nics] == [f"id={nic.tap}" for nic in VM.nics]


def ask(host: RealHost, what: str, arguments: str = "{}") -> str:
    return host.run(Command(("perl", "-e", ASK, "--", VM.directory, what, arguments))).output


@pytest.mark.lab
def test_a_snapshot_a_guest_agent_and_another_nic_find_what_they_need() -> None:
    with real_host() as host:
        (host.uploads / "base").write_bytes(BASE)
        for resource in (IMAGE, DISK, *PORTS, VM):
            kind = DRIVERS[resource.kind]
            host.perform(kind.ensure(resource, host.probe(kind, [resource])[resource.address], None))
        assert '"node-name": "overlay0"' in ask(host, "query-named-block-nodes")
        agent = ask(host, "query-chardev")
        assert '"label": "agent0"' in agent
        assert "org.qemu.guest_agent.0" in ask(host, "qom-get", '{"path": "agent0port", "property": "name"}')
        assert host.sh(f"stat -c '%F %a %u' {VM.directory}/agent.sock").strip() == "socket 700 0"
        slots = 32 - 3 - len(VM.nics)
        for number in range(slots):
            hub = f'{{"type": "hubport", "id": "spare{number}", "hubid": {number}}}'
            assert ask(host, "netdev_add", hub).startswith('{"return"')
            nic = f'{{"driver": "virtio-net-pci", "netdev": "spare{number}", "id": "nic{number}"}}'
            assert ask(host, "device_add", nic).startswith('{"return"'), number
        fact = cast("VmFact", host.probe(driver.DRIVER, [VM])[VM.address])
        host.perform(driver.remove(VM, fact))
        assert host.sh(f"ls {VM.directory}").split() == ["web_img.qcow2", "web_img.qcow2.owner"]
