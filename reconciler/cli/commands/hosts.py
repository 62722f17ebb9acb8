"""The verbs that read hosts and change nothing: `drift`, `verify` and `doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler import workflow
from reconciler.apply.observation.doctor import Examination
from reconciler.apply.observation.drift import DriftKind
from reconciler.apply.transport.connection import Connector
from reconciler.cli.engines import connecting
from reconciler.cli.interrupt import run_reading
from reconciler.cli.options import Slices
from reconciler.cli.session import Session
from reconciler.errors import HostOwned, StateBehind, StateError
from reconciler.spec.models.names import HostName
from reconciler.verify.verification import Verification
from reconciler.views.doctor import StateCheck, all_fit, doctor_view
from reconciler.views.drift import drift_view
from reconciler.views.hosts import hosts_view
from reconciler.views.orphans import is_drift
from reconciler.views.verification import verification_view
from reconciler.workflow.doctor import examine_cluster
from reconciler.workflow.hosts import HostReport, report_hosts
from reconciler.workflow.ownership import refuse_foreign_hosts
from reconciler.workflow.verify import verify as verify_cluster

DRIFTED = 2
"""The exit code of `drift` if something differs from the state."""

NOT_VERIFIED = 2
"""The exit code of `verify` if the network differs from the declared one."""


def drift(session: Session, slices: Slices = None) -> int:
    """Compare the hosts with the state, and list orphans. Reads only.

    Exits 0 if nothing differs, 2 if something differs or is an orphan, and 1 if a host cannot be read. Objects of
    another state on the same hosts are reported, and are no drift.

    Examples:
      reconciler drift
      reconciler drift admin/two-vms
      reconciler drift --json | jq .orphans
    """
    inputs = session.inputs()
    with session.reader(inputs.cluster) as store:
        scope = workflow.find_slices(store, session.slice_names(slices)) if slices else None
        count = len(workflow.present_resources(store, scope))

        async def work() -> workflow.ClusterDrift:
            async with connecting(session, inputs.cluster.cluster) as connector:
                return await workflow.drift(inputs, store, connector, scope)

        found = run_reading(work())
    session.show(drift_view(found, count))
    if found.unread or any(item.kind is DriftKind.UNREACHABLE for item in found.drift):
        return 1
    return DRIFTED if found.drift or any(map(is_drift, found.orphans)) else 0


def verify(
    session: Session,
    slices: Slices = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also let routers ask every guest for its MAC by ARP.")
    ] = False,
) -> int:
    """Verify that the live network carries exactly the declared links, by tracing frames on every switch.

    Packets are followed through every router. Changes nothing, and sends nothing except the ARP requests of --probe.

    Exits 0 if verified, 2 if not or if a guest does not reply to --probe, and 1 if a host cannot be read.

    Examples:
      reconciler verify
      reconciler verify admin/two-vms
      reconciler verify --probe
      reconciler verify --json | jq .violations
    """
    inputs = session.inputs()
    with session.reader(inputs.cluster) as store:
        scope = workflow.find_slices(store, session.slice_names(slices)) if slices else None

        async def work() -> Verification:
            async with connecting(session, inputs.cluster.cluster) as connector:
                return await verify_cluster(inputs, store, connector, scope, probe=probe)

        result = run_reading(work())
    session.show(verification_view(result))
    return 0 if result.verified else NOT_VERIFIED


def hosts(session: Session) -> None:
    """List the hosts: whether each is ready, cordoned, unreachable or not in the cluster file, and what is there.

    VMs, vCPUs, memory and sizes of disks are those of the state; used and free disk space are read on the hosts. Reads
    only.

    Examples:
      reconciler hosts
      reconciler hosts --json | jq -r '.[] | select(.state != "ready") | .host'
    """
    inputs = session.inputs()
    with session.reader(inputs.cluster) as store:

        async def work() -> tuple[HostReport, ...]:
            async with connecting(session, inputs.cluster.cluster) as connector:
                return await report_hosts(inputs.cluster.cluster, store, connector)

        found = run_reading(work())
    session.show(hosts_view(found))


async def _check_state(session: Session, inputs: workflow.Inputs, connector: Connector) -> StateCheck:
    """Check that the hosts work for the state; one that cannot be read is left out, because doctor is about hosts."""
    place = session.state_place(inputs.cluster)
    try:
        with session.reader(inputs.cluster) as reader:
            cordoned = reader.cordons()
            hosts = [HostName(host.name) for host in inputs.cluster.cluster.hosts()]
            await refuse_foreign_hosts(reader, connector, hosts)
    except (HostOwned, StateBehind) as error:
        return StateCheck(place, cordoned, error)
    except StateError:
        return StateCheck(place, {}, None)
    return StateCheck(place, cordoned, None)


def doctor(session: Session) -> int:
    """Check that every host is ready: login, Open vSwitch, trunk, programs, kernel, space, clock, images. Reads only.

    Also says where the state is, and whether hosts belong to another one.

    Exits 0 if every host is ready, warnings allowed, and 1 otherwise.

    Examples:
      reconciler doctor
      reconciler doctor --json | jq '.hosts[] | select(.fit | not)'
    """
    inputs = session.inputs()

    async def work() -> tuple[tuple[Examination, ...], StateCheck]:
        async with connecting(session, inputs.cluster.cluster) as connector:
            examined = tuple(await examine_cluster(inputs, connector))
            return examined, await _check_state(session, inputs, connector)

    examined, state = run_reading(work())
    session.show(doctor_view(examined, state))
    return 0 if all_fit(examined, state) else 1
