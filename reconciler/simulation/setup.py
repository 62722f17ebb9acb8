"""Sets a stage as a record tells it: a copy of the record, and hosts that carry what is recorded; both are let be."""

from __future__ import annotations

from reconciler.apply.observation.observe import Drivers
from reconciler.plan.snapshot import Status
from reconciler.simulation.drivers import DRIVERS
from reconciler.simulation.hosts import Host, Thing, place_of
from reconciler.simulation.simulation import HOLDER, Simulation
from reconciler.spec.models.cluster import Cluster
from reconciler.state.export import Export
from reconciler.state.sql.store import SqlStore


def set_up(cluster: Cluster, store: SqlStore, drivers: Drivers = DRIVERS) -> Simulation:
    """Return a stage on which all is as recorded; what an unfinished apply left open stands there half-made.

    Past applies and sighted orphans are left out of the copy: nothing that comes depends on them.
    """
    stage = Simulation(cluster.name, [host.name for host in cluster.hosts()], drivers)
    if store.read(()).serial:  # else nothing is recorded, as on the stage
        bare = store.export().model_copy(update={"history": (), "orphans": ()})
        stage.store.import_state(bare, HOLDER, _forget)
    for entry in stage.store.read().resources.values():
        resource = entry.may_exist()
        thing = Thing(resource.address, resource, whole=entry.status is Status.PRESENT)
        # The cluster file may have lost a host that only slices of no concern here are recorded on.
        stage.hosts.setdefault(resource.host, Host()).things[place_of(resource)] = thing
    return stage


def _forget(_: Export) -> None:
    """Keep nothing of what was in the record of a new stage."""
