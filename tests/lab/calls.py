"""An orchestrator on a lab, and its answers unpacked; what must hold is the tests'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reconciler.orchestrator import Database, DeploymentAPI, OrchestratorAPI, RemoteExecutor


def orchestrator(folder: Path, cluster: Path, record: Path) -> OrchestratorAPI:
    """Give an orchestrator with its database and slices in a folder."""
    executor = RemoteExecutor(cluster, record, folder / "slices")
    return OrchestratorAPI(Database(folder / "database.yaml"), DeploymentAPI(executor))


def done(answer: tuple[bool, Any]) -> Any:
    """Return the result of a call that must succeed."""
    success, result = answer
    assert success, result
    return result


def refused(answer: tuple[bool, Any]) -> str:
    """Return the sentence of a call that must not succeed."""
    success, sentence = answer
    assert not success, sentence
    assert isinstance(sentence, str)
    return sentence
