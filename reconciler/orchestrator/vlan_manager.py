"""VLANManager: creates and deletes the gateway of one VLAN on the network node."""

from __future__ import annotations

from ipaddress import IPv4Interface

from reconciler.orchestrator.answers import Refused, returns_answer
from reconciler.orchestrator.locked_slice import locked_slice
from reconciler.orchestrator.lookup import internet_slice, locked_link
from reconciler.orchestrator.remote_executor import RemoteExecutor
from reconciler.plan.resources import Uplink, address
from reconciler.spec.models.cluster import Cluster


class VLANManager:
    """Single VLANs: those of links in the state, and the internet VLAN; no other VLAN is created."""

    def __init__(self, executor: RemoteExecutor) -> None:
        self.executor = executor

    @returns_answer
    def create_vlan_with_gateway(self, vlan_id: int, cidr: str, gateway_ip: str, dhcp_enabled: bool = True) -> str:
        """Create the gateway of a VLAN; its subnet, gateway and DHCP must be those of the state."""
        cluster = self.executor.cluster()
        if vlan_id == cluster.internet.vlan:
            _require_equal(vlan_id, (cidr, gateway_ip), _internet(cluster))
            self._make_uplink(cluster)
        else:
            with locked_link(self.executor, vlan_id) as (work, segment):
                gateway = IPv4Interface(segment.ip)
                _require_equal(
                    vlan_id, (cidr, gateway_ip, dhcp_enabled), (str(gateway.network), str(gateway.ip), segment.dhcp)
                )
                work.apply(only=[segment.address])
        return f"VLAN {vlan_id} configured"

    @returns_answer
    def enable_internet_for_vlan(self, vlan_id: int, cidr: str) -> str:
        """Create the uplink of the internet VLAN; no other VLAN has one."""
        cluster = self.executor.cluster()
        if vlan_id != cluster.internet.vlan:
            raise Refused(f"VLAN {vlan_id} has no uplink: only VLAN {cluster.internet.vlan} has one")
        _require_equal(vlan_id, (cidr,), _internet(cluster)[:1])
        self._make_uplink(cluster)
        return f"Internet enabled for VLAN {vlan_id}"

    @returns_answer
    def delete_vlan(self, vlan_id: int) -> str:
        """Delete the gateway of a link's VLAN; the link keeps the VLAN. The uplink is never deleted here."""
        with locked_link(self.executor, vlan_id) as (work, segment):
            work.apply(only=(), without=[segment.address])
        return f"VLAN {vlan_id} deleted"

    def _make_uplink(self, cluster: Cluster) -> None:
        with locked_slice(self.executor, internet_slice(self.executor.snapshot())) as work:
            work.apply(only=[address(Uplink, cluster.network_node.name)])


def _internet(cluster: Cluster) -> tuple[str, str]:
    return str(cluster.internet.subnet), str(cluster.internet.gateway)


def _require_equal(vlan_id: int, given: tuple[object, ...], expected: tuple[object, ...]) -> None:
    """Raise Refused if a caller's values for a VLAN differ from those of the state."""
    if given != expected:
        raise Refused(f"VLAN {vlan_id} has {', '.join(map(str, expected))}, not with {', '.join(map(str, given))}")
