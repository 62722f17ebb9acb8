"""The methods take the parameters of the imperative system, by position and by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from reconciler.orchestrator import Database, DeploymentAPI, OrchestratorAPI, RemoteExecutor, VLANManager, VMLauncher

TAKES: list[tuple[Callable[..., Any], str]] = [
    (Database, "(path)"),
    (RemoteExecutor, "(cluster, state, slices)"),
    (DeploymentAPI, "(executor)"),
    (OrchestratorAPI, "(db, deployment_api)"),
    (OrchestratorAPI.create_slice, "(self, username, slice_name, topology_type='custom')"),
    (
        OrchestratorAPI.add_vm_to_slice,
        "(self, username, slice_id, vm_name, flavor_name, data_interfaces_count, internet_enabled=False)",
    ),
    (OrchestratorAPI.create_link, "(self, username, slice_id, vm1_id, vm1_interface, vm2_id, vm2_interface)"),
    (OrchestratorAPI.deploy_slice, "(self, username, slice_id)"),
    (OrchestratorAPI.delete_slice, "(self, username, slice_id)"),
    (OrchestratorAPI.get_next_worker, "(self)"),
    (VMLauncher.launch_vm, "(self, worker_ip, vm_dict)"),
    (VMLauncher.stop_vm, "(self, worker_ip, vm_dict)"),
    (VLANManager.create_vlan_with_gateway, "(self, vlan_id, cidr, gateway_ip, dhcp_enabled=True)"),
    (VLANManager.enable_internet_for_vlan, "(self, vlan_id, cidr)"),
    (VLANManager.delete_vlan, "(self, vlan_id)"),
    (DeploymentAPI.delete_vm_dict, "(self, vm_dict)"),
]


@pytest.mark.parametrize(("called", "takes"), TAKES, ids=lambda each: getattr(each, "__qualname__", ""))
def test_parameters_are_those_of_the_reference(called: Callable[..., Any], takes: str) -> None:
    signature = inspect.signature(called)
    bare = [
        parameter.replace(
            annotation=parameter.empty,
            default=parameter.empty if parameter.default in (None, "database.yaml") else parameter.default,
        )
        for parameter in signature.parameters.values()
    ]
    assert str(inspect.Signature(bare)) == takes


def test_the_executor_is_where_the_reference_says(api: OrchestratorAPI) -> None:
    assert api.deployment_api.executor is api.executor
    assert (api.vm_launcher.executor, api.vlan_manager.executor) == (api.executor, api.executor)
