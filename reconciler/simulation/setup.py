"""Builds a simulated cluster from a state: a copy of the state, and model hosts that carry its resources."""

from __future__ import annotations

from reconciler.apply.observation.observe import Drivers
from reconciler.plan.snapshot import Status
from reconciler.simulation.cluster import SimulatedCluster
from reconciler.simulation.drivers import DRIVERS
from reconciler.simulation.hosts import Host, HostObject, object_name
from reconciler.spec.models.cluster import Cluster
from reconciler.state.image import Image


def simulated_copy(cluster: Cluster, image: Image, drivers: Drivers = DRIVERS) -> SimulatedCluster:
    """Return a simulated cluster whose hosts carry what the state says; resources of unfinished steps are incomplete.

    Locks are not copied, because they belong to running processes.
    """
    simulated = SimulatedCluster([host.name for host in cluster.hosts()], drivers)
    simulated.store.restore(image.unlocked())
    for entry in simulated.store.read().resources.values():
        resource = entry.may_exist()
        found = HostObject(resource.address, resource, complete=entry.status is Status.PRESENT)
        # A host of other slices may no longer be in the cluster file.
        simulated.hosts.setdefault(resource.host, Host()).objects[object_name(resource)] = found
    return simulated
