"""Builds a simulated cluster from a state: a copy of the state, and model hosts that carry its resources."""

from __future__ import annotations

from reconciler.apply.observation.observe import Drivers
from reconciler.plan.snapshot import Status
from reconciler.simulation.cluster import HOLDER, SimulatedCluster
from reconciler.simulation.drivers import DRIVERS
from reconciler.simulation.hosts import Host, Thing, place_of
from reconciler.spec.models.cluster import Cluster
from reconciler.state.export import Export
from reconciler.state.sql.store import SqlStore


def simulated_copy(cluster: Cluster, store: SqlStore, drivers: Drivers = DRIVERS) -> SimulatedCluster:
    """Return a simulated cluster whose hosts carry what the state says; resources of unfinished steps are incomplete.

    Past applies and orphans are not copied, because no simulated apply depends on them.
    """
    simulated = SimulatedCluster(cluster.name, [host.name for host in cluster.hosts()], drivers)
    if store.read(()).serial:  # else the state is empty, as in the simulation
        bare = store.export().model_copy(update={"history": (), "orphans": ()})
        simulated.store.import_state(bare, HOLDER, _forget)
    for entry in simulated.store.read().resources.values():
        resource = entry.may_exist()
        thing = Thing(resource.address, resource, whole=entry.status is Status.PRESENT)
        # A host of other slices may no longer be in the cluster file.
        simulated.hosts.setdefault(resource.host, Host()).things[place_of(resource)] = thing
    return simulated


def _forget(_: Export) -> None:
    """Keep no backup of the new, empty state."""
