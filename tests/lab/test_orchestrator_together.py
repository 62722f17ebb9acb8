"""Concurrent threads and processes: ids, VLANs, ports and addresses are unique, and counters are correct."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reconciler.orchestrator import Database
from tests.lab.calls import done, orchestrator
from tests.lab.site import Site

pytestmark = pytest.mark.lab

PROCESSES, THREADS = ("admin", "alice"), 8


def work(user: str, folder: Path, cluster: Path, record: Path) -> Sequence[dict[str, Any]]:
    """Have eight threads make a slice with two linked VMs each, all with one orchestrator; return the slices."""
    api = orchestrator(folder, cluster, record)

    def one(number: int) -> dict[str, Any]:
        slice_id = done(api.create_slice(user, f"lab{number}"))["slice_id"]
        first, second = (
            done(api.add_vm_to_slice(user, slice_id, name, "cirros", 1, internet_enabled=True))["vm_id"]
            for name in ("a", "b")
        )
        done(api.create_link(user, slice_id, first, "eth1", second, "eth1"))
        return dict(done(api.get_slice(user, slice_id)))

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def test_eight_threads_of_two_processes(site: Site, tmp_path: Path) -> None:
    (tmp_path / "database.yaml").write_text("users:\n  admin: {}\n  alice: {}\n")
    arguments = [(user, tmp_path, site.cluster, site.state) for user in PROCESSES]
    with ProcessPoolExecutor(len(PROCESSES), mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(work, *each) for each in arguments]
        slices = [data for run in runs for data in run.result(timeout=300)]
    count = len(PROCESSES) * THREADS
    vms = [vm for data in slices for vm in data["vms"]]
    cards = [card for vm in vms for card in vm["interfaces"]]
    for numbers, many in (
        ([data["slice_id"] for data in slices], count),
        ([vlan for data in slices for vlan in data["vlan_pool"]], 20 * count),
        ([link["vlan_id"] for data in slices for link in data["links"]], count),
        ([link["link_id"] for data in slices for link in data["links"]], count),
        ([vm["vm_id"] for vm in vms], 2 * count),
        ([(vm["worker_ip"], vm["vnc_port"]) for vm in vms], 2 * count),
        ([card["mac"] for card in cards], 4 * count),
        ([card["ip"] for card in cards if card["vlan_id"] == 400], 2 * count),
    ):
        assert len(numbers) == len(set(numbers)) == many
    assert 400 not in {vlan for data in slices for vlan in data["vlan_pool"]}
    workers = [vm["worker_ip"] for vm in vms]
    assert {workers.count(worker) for worker in set(workers)} <= {10, 11}, "workers are taken in turn"
    database = Database(tmp_path / "database.yaml").read()
    for user in PROCESSES:
        assert database.users[user].used_vms == 2 * THREADS
        assert database.users[user].slices == sorted(data["slice_id"] for data in slices if data["owner"] == user)
    assert len(site.slices()) == count
