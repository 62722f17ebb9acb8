"""Builds a simulated cluster from a state: a copy of the state, and model hosts that carry its resources."""

from __future__ import annotations

from reconciler.apply.observation.observe import Drivers
from reconciler.plan.resources import Resource
from reconciler.plan.snapshot import Status
from reconciler.simulation.cluster import SimulatedCluster
from reconciler.simulation.drivers import DRIVERS
from reconciler.simulation.hosts import Host, HostObject, first_data, object_name
from reconciler.spec.models.cluster import Cluster
from reconciler.state.image import Image


def simulated_copy(cluster: Cluster, image: Image, drivers: Drivers = DRIVERS) -> SimulatedCluster:
    """Return a simulated cluster whose hosts carry what the state says; resources of unfinished steps are incomplete.

    Locks are not copied, because they belong to running processes.
    """
    simulated = SimulatedCluster([host.name for host in cluster.hosts()], drivers)
    simulated.store.restore(image.unlocked())
    for entry in simulated.store.read().resources.values():
        complete = entry.status is Status.PRESENT or entry.leftover is not None
        _put(simulated, entry.may_exist(), complete=complete)
        if entry.leftover is not None:
            _put(simulated, entry.leftover, complete=False)
    return simulated


def _put(simulated: SimulatedCluster, resource: Resource, *, complete: bool) -> None:
    """Put the object of a resource on its host, which may no longer be in the cluster file."""
    found = HostObject(resource.address, resource, complete, data=first_data(resource) if complete else b"")
    simulated.hosts.setdefault(resource.host, Host()).objects[object_name(resource)] = found
