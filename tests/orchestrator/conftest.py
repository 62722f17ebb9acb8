"""An orchestrator in its own folder, over a cluster whose hosts cannot be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.orchestrator import Database, DeploymentAPI, OrchestratorAPI, RemoteExecutor
from tests.fresh import make_state

CLUSTER = """
version: 1
name: campus
workers:
  - {name: worker1, address: 10.0.10.1}
  - {name: worker2, address: 10.0.10.2}
  - {name: worker3, address: 10.0.10.3}
network_node: {name: gateway, address: 10.0.10.254, uplink: ens3}
ssh: {user: nobody, identity_file: no-such-key, known_hosts: no-such-file}
bridge: {trunk: ens4}
images:
  cirros: {file: cirros.qcow2, sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
flavors:
  cirros: {image: cirros, vcpus: 1, memory: 256MiB, disk: 1GiB}
users:
  admin: {quota: {slices: 3}}
  alice: {}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder that has a cluster file, and nothing else."""
    for name in ("CLUSTER", "STATE", "SLICES"):
        monkeypatch.delenv(f"RECONCILER_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.yaml").write_text(CLUSTER, encoding="utf-8")
    return tmp_path


@pytest.fixture
def api(folder: Path) -> OrchestratorAPI:
    """Begin as a program does."""
    make_state(folder / "record.db", "campus")
    return OrchestratorAPI(Database(), DeploymentAPI(RemoteExecutor(state=folder / "record.db")))
