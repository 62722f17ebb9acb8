"""What `evacuate` refuses before it contacts a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import Cli, Write

SLICE = "slices/two-vms.yaml"


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["worker9"], "the cluster file has no worker 'worker9'"),
        (["gateway"], "gateway is the network node: it has no VMs"),
        (["worker1", "--to", "worker1"], "worker1 cannot be evacuated to itself"),
        (["worker1", "--to", "worker9"], "the cluster file has no worker 'worker9'"),
    ],
)
def test_hosts_that_make_no_sense(cli: Cli, arguments: list[str], told: str) -> None:
    done = cli("evacuate", "--auto-approve", *arguments)
    assert (done.code, told in done.err) == (1, True), done.err


@pytest.mark.usefixtures("applied")
def test_a_target_that_takes_no_new_vms(cli: Cli) -> None:
    cli("cordon", "worker2")
    done = cli("evacuate", "--auto-approve", "worker1", "--to", "worker2")
    assert done.code == 1
    assert "error[usage]: worker2 is cordoned by" in done.err
    assert "reconciler uncordon worker2" in done.err


@pytest.mark.usefixtures("applied")
def test_slices_there_without_a_file_are_named_and_the_worker_takes_new_vms_still(cli: Cli, write: Write) -> None:
    write("others/other.yaml", "version: 1\nname: other\nowner: admin\ndefaults: {flavor: cirros}\nvms: {a: {}}\n")
    done = cli("evacuate", "--auto-approve", "worker1", "others")
    assert done.code == 1
    assert "worker1 has something of 1 slice without a file here: admin/two-vms" in done.err
    assert '"state": "cordoned"' not in cli("hosts", "--json").out


@pytest.mark.usefixtures("applied")
def test_pinned_vms_are_named(cli: Cli, project: Path) -> None:
    file = project / SLICE
    file.write_text(file.read_text().replace("web: {", "web: {worker: worker1, "))
    done = cli("evacuate", "--auto-approve", "worker1")
    assert done.code == 1
    assert "1 VM must stay on worker1, as their files say: admin/two-vms/" in done.err
