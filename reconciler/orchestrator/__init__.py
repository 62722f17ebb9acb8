"""The imperative OrchestratorAPI, for programs that were written for it.

A call edits a slice file and applies it. docs/orchestrator-api.md describes each call, and where it differs.
"""

from reconciler.orchestrator.database import Database
from reconciler.orchestrator.deployment_api import DeploymentAPI
from reconciler.orchestrator.orchestrator_api import OrchestratorAPI
from reconciler.orchestrator.remote_executor import RemoteExecutor
from reconciler.orchestrator.vlan_manager import VLANManager
from reconciler.orchestrator.vm_launcher import VMLauncher

__all__ = ["Database", "DeploymentAPI", "OrchestratorAPI", "RemoteExecutor", "VLANManager", "VMLauncher"]
