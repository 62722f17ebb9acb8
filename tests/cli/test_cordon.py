"""`cordon` and `uncordon`: what they print, what plans say, and what an export keeps."""

from __future__ import annotations

import pytest

from tests.cli.running import Cli, Write


@pytest.mark.usefixtures("project")
def test_a_cordon_is_kept_shown_and_lifted(cli: Cli) -> None:
    done = cli("cordon", "worker1")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("worker1 is cordoned by ")
    first = cli("cordon", "worker1", "--json").data
    assert (first["host"], first["cordoned"]) == ("worker1", True)
    planned = cli("plan")
    assert planned.out.startswith(f"worker1 is cordoned by {first['user']} since ")
    assert "on worker1" not in planned.out
    data = cli("plan", "--json").data
    assert data["hosts_cordoned"] == [{"host": "worker1", "user": first["user"], "since": first["since"]}]
    assert f"worker1 is cordoned by {first['user']} since " in cli("doctor").out
    assert cli("doctor", "--json").data["hosts_cordoned"] == data["hosts_cordoned"]
    assert cli("state", "export", "-o", "state.json").code == 0
    assert cli("uncordon", "worker1").out == "worker1 takes new VMs again.\n"
    assert cli("uncordon", "worker1").out == "worker1 was not cordoned.\n"
    assert "cordoned" not in cli("plan").out
    assert cli("--state", "other.db", "state", "import", "state.json", "--auto-approve").code == 0
    assert cli("--state", "other.db", "plan", "--json").data["hosts_cordoned"] == data["hosts_cordoned"]


@pytest.mark.usefixtures("project")
def test_a_host_that_is_no_worker(cli: Cli) -> None:
    done = cli("cordon", "worker11")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error[usage]: the cluster file has no worker 'worker11'\nhint: did you mean `worker1")
    done = cli("cordon", "gateway")
    assert done.err == (
        "error[usage]: gateway is the network node: it has no VMs\nhint: workers: worker1, worker2, worker3\n"
    )


@pytest.mark.usefixtures("project")
def test_a_pinned_vm_on_a_cordoned_worker_is_an_error(cli: Cli, write: Write) -> None:
    cli("cordon", "worker2")
    text = "version: 1\nname: pinned\nowner: admin\ndefaults: {flavor: cirros}\nvms: {a: {worker: worker2}}\n"
    write("pinned.yaml", text)
    done = cli("plan", "pinned.yaml")
    assert done.code == 1
    assert "error[plan]: admin/pinned/a has `worker: worker2`, which is cordoned by " in done.err


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_apply_names_the_cordoned_workers(cli: Cli) -> None:
    cli("cordon", "worker1")
    done = cli("apply", "--auto-approve", "--no-color")
    assert done.out.startswith("worker1 is cordoned by ")
    assert ": it takes no new VMs.\n" in done.out
