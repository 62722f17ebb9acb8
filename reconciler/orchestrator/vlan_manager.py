"""VLANManager: the network node's part of one VLAN, by the same plan as all else; whose a VLAN is stands recorded."""

from __future__ import annotations

from ipaddress import IPv4Interface

from reconciler.orchestrator.answers import Refused, answered
from reconciler.orchestrator.numbered import link_at_work, slice_on_internet
from reconciler.orchestrator.remote_executor import RemoteExecutor
from reconciler.orchestrator.slice_at_work import at_work
from reconciler.plan.resources import Uplink, address
from reconciler.spec.models.cluster import Cluster


class VLANManager:
    """VLANs one by one: those of recorded links, and the internet VLAN; none is made that no slice has."""

    def __init__(self, executor: RemoteExecutor) -> None:
        self.executor = executor

    @answered
    def create_vlan_with_gateway(self, vlan_id: int, cidr: str, gateway_ip: str, dhcp_enabled: bool = True) -> str:
        """Make the gateway of a VLAN; its subnet, gateway and DHCP are to be those that are recorded."""
        cluster = self.executor.cluster()
        if vlan_id == cluster.internet.vlan:
            _agree(vlan_id, (cidr, gateway_ip), _internet(cluster))
            self._make_uplink(cluster)
        else:
            with link_at_work(self.executor, vlan_id) as (work, segment):
                gateway = IPv4Interface(segment.ip)
                _agree(vlan_id, (cidr, gateway_ip, dhcp_enabled), (str(gateway.network), str(gateway.ip), segment.dhcp))
                work.follow(only=[segment.address])
        return f"VLAN {vlan_id} configured"

    @answered
    def enable_internet_for_vlan(self, vlan_id: int, cidr: str) -> str:
        """Make the way out of the internet VLAN; no other VLAN has one."""
        cluster = self.executor.cluster()
        if vlan_id != cluster.internet.vlan:
            raise Refused(f"VLAN {vlan_id} has no way out: that is VLAN {cluster.internet.vlan}'s alone")
        _agree(vlan_id, (cidr,), _internet(cluster)[:1])
        self._make_uplink(cluster)
        return f"Internet enabled for VLAN {vlan_id}"

    @answered
    def delete_vlan(self, vlan_id: int) -> str:
        """Remove the gateway of a link's VLAN; the VLAN stays the link's own. The internet VLAN's goes by itself."""
        with link_at_work(self.executor, vlan_id) as (work, segment):
            work.follow(only=(), without=[segment.address])
        return f"VLAN {vlan_id} deleted"

    def _make_uplink(self, cluster: Cluster) -> None:
        with at_work(self.executor, slice_on_internet(self.executor.recorded())) as work:
            work.follow(only=[address(Uplink, cluster.network_node.name)])


def _internet(cluster: Cluster) -> tuple[str, str]:
    return str(cluster.internet.subnet), str(cluster.internet.gateway)


def _agree(vlan_id: int, given: tuple[object, ...], recorded: tuple[object, ...]) -> None:
    """Raise Refused where a caller would have a VLAN otherwise than it is recorded."""
    if given != recorded:
        raise Refused(
            f"VLAN {vlan_id} is recorded with {', '.join(map(str, recorded))}, not with {', '.join(map(str, given))}"
        )
