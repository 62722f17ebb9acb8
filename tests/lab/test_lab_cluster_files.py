"""The cluster file of a lab: the reconciler can read it, and its image, keys and ports exist."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from reconciler import lab as labs
from reconciler.lab.folder import locate
from reconciler.spec.load import load_cluster
from reconciler.trees import DISK

pytestmark = pytest.mark.lab


def test_the_cluster_file_is_read_by_the_reconciler(lab: labs.LabInfo) -> None:
    cluster = load_cluster(DISK, lab.cluster_file).cluster
    assert cluster.name == lab.name
    assert [worker.name for worker in cluster.workers] == ["worker1", "worker2", "worker3"]
    assert [str(worker.address) for worker in cluster.workers] == ["10.0.10.1", "10.0.10.2", "10.0.10.3"]
    assert (cluster.network_node.name, cluster.network_node.uplink) == ("gateway", "ens5")
    assert (cluster.bridge.name, cluster.bridge.trunk, cluster.accelerator) == ("br-int", "ens4", "tcg")
    assert sorted(cluster.users) == ["admin", "alice", "bob"]


def test_its_ports_are_those_of_the_hosts(lab: labs.LabInfo) -> None:
    cluster = load_cluster(DISK, lab.cluster_file).cluster
    ports = {host.name: host.ssh.port for host in (*cluster.workers, cluster.network_node)}
    assert ports == {host.name: host.port for host in labs.status(lab.name).hosts}


def test_its_images_exist_with_the_stated_digest(lab: labs.LabInfo) -> None:
    cluster = load_cluster(DISK, lab.cluster_file).cluster
    assert {flavor.image for flavor in cluster.flavors.values()} == set(cluster.images) == {"cirros", "ubuntu"}
    for image in cluster.images.values():
        assert hashlib.sha256(Path(image.file).read_bytes()).hexdigest() == image.sha256


def test_private_keys_are_private(lab: labs.LabInfo) -> None:
    folder = locate(lab.name)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder.client_key.stat().st_mode & 0o777 == 0o600
