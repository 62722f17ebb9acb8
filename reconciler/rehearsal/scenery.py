"""Sets a stage as a record tells it: a copy of the record, and hosts that carry what is recorded; both are let be."""

from __future__ import annotations

from reconciler.apply.observe import Drivers
from reconciler.plan.record import Status
from reconciler.rehearsal.drivers import DRIVERS
from reconciler.rehearsal.hosts import Host, Thing, place_of
from reconciler.rehearsal.stage import HOLDER, Stage
from reconciler.spec.cluster import Cluster
from reconciler.state.document import Export
from reconciler.state.sql import SqlStore


def set_stage(cluster: Cluster, store: SqlStore, drivers: Drivers = DRIVERS) -> Stage:
    """Return a stage on which all is as recorded; what an unfinished apply left open stands there half-made.

    Past applies and sighted orphans are left out of the copy: nothing that comes depends on them.
    """
    stage = Stage(cluster.name, [host.name for host in cluster.hosts()], drivers)
    if store.read(()).serial:  # else nothing is recorded, as on the stage
        bare = store.export().model_copy(update={"history": (), "orphans": ()})
        stage.store.take_in(bare, HOLDER, _forget)
    for entry in stage.store.read().resources.values():
        resource = entry.may_stand()
        thing = Thing(resource.address, resource, whole=entry.status is Status.PRESENT)
        # The cluster file may have lost a host that only slices of no concern here are recorded on.
        stage.hosts.setdefault(resource.host, Host()).things[place_of(resource)] = thing
    return stage


def _forget(_: Export) -> None:
    """Keep nothing of what was in the record of a new stage."""
