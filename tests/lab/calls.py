"""Makes an orchestrator on a lab, and unpacks its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reconciler.orchestrator import Database, DeploymentAPI, OrchestratorAPI, RemoteExecutor


def orchestrator(folder: Path, cluster: Path, state: Path) -> OrchestratorAPI:
    """Give an orchestrator with its database and slices in a folder."""
    executor = RemoteExecutor(cluster, state, folder / "slices")
    return OrchestratorAPI(Database(folder / "database.yaml"), DeploymentAPI(executor))


def done(answer: tuple[bool, Any]) -> Any:
    """Return the result of a call that must succeed."""
    success, result = answer
    assert success, result
    return result


def refused(answer: tuple[bool, Any]) -> str:
    """Return the message of a call that must fail."""
    success, message = answer
    assert not success, message
    assert isinstance(message, str)
    return message
