"""The verbs that only look: `status` and `show` at the record, the others at the hosts."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli.commands.apply import show_plan
from reconciler.cli.interrupt import run_reading
from reconciler.cli.planfiles import find_saved, read_saved
from reconciler.cli.session import Session
from reconciler.spec.quoting import plural

if TYPE_CHECKING:
    from reconciler.apply.observation.doctor import Examination
    from reconciler.spec.models.names import SliceKey
    from reconciler.state.store import StateReader
    from reconciler.verify.verification import Verification
    from reconciler.views.slices import SliceView, VmView
    from reconciler.workflow import ClusterDrift, Inputs

DRIFTED = 2
"""The exit code of `drift` where something is not as recorded."""

NOT_VERIFIED = 2
"""The exit code of `verify` if the network differs from the declared one."""


def status(session: Session) -> None:
    """List the slices in the state: size, workers, VLANs, and whether the last apply finished.

    [bold]Examples[/bold]

      reconciler status
      reconciler status --json
    """
    views = _views(session)
    if session.json:
        session.print_json([_slice_data(view) for view in views])
        return
    if not views:
        sys.stdout.write("No slice is recorded.\n")
        return
    from reconciler.cli.tables import table  # noqa: PLC0415

    session.console().print(table([_slice_row(view) for view in views]))


def show(
    session: Session,
    name: Annotated[
        str,
        typer.Argument(metavar="SLICE|FILE", help="A slice, as owner/name or name; or a plan that `plan -o` saved."),
    ],
) -> None:
    """Show one slice: its VMs with worker, addresses and VNC, its links with VLAN and subnet; or a saved plan.

    [bold]Examples[/bold]

      reconciler show admin/two-vms
      reconciler show two-vms --json
      reconciler show two-vms.plan
    """
    if (saved := find_saved([Path(name)])) is not None:
        show_plan(session, read_saved(saved).plan)
        return
    view = _view(session, name)
    if session.json:
        session.print_json(_slice_data(view))
        return
    from reconciler.cli.tables import table  # noqa: PLC0415

    console = session.console()
    console.print(f"slice {view.key}  id {view.id}  VLANs {', '.join(view.pool)}  {view.sync}")
    console.print(table([_vm_row(vm) for vm in view.vms], "VMs"))
    console.print(table([row for vm in view.vms for row in _nic_rows(vm)], "Interfaces"))
    if view.links:
        links = [asdict(link) for link in view.links]
        console.print(table([{"link": row.pop("key")} | row for row in links], "Links"))


def drift(
    session: Session,
    slices: Annotated[list[str] | None, typer.Argument(metavar="[SLICE]...", help="Slices. (default: all)")] = None,
) -> int:
    """Compare the hosts with the state, and find orphans. Changes nothing.

    Exits with 0 if there is no difference, 2 if there is drift or an orphan, and 1 if a host cannot be read. Objects of
    another state on the same hosts are listed and are not drift.

    [bold]Examples[/bold]

      reconciler drift
      reconciler drift admin/two-vms
      reconciler drift --json | jq .orphans
    """
    from reconciler import workflow  # noqa: PLC0415
    from reconciler.apply.observation.drift import DriftKind  # noqa: PLC0415
    from reconciler.cli.orphans import is_drift  # noqa: PLC0415

    inputs = session.inputs()
    with session.reader(inputs.cluster) as store:
        scope = workflow.find_slices(store, slices) if slices else None
        count = len(workflow.present_resources(store, scope))
        found = run_reading(_drift(session, inputs, store, scope))
    _tell_drift(session, found, count)
    if found.unread or any(item.kind is DriftKind.UNREACHABLE for item in found.drift):
        return 1
    return DRIFTED if found.drift or any(map(is_drift, found.orphans)) else 0


async def _drift(
    session: Session, inputs: Inputs, store: StateReader, scope: Collection[SliceKey] | None
) -> ClusterDrift:
    from reconciler import workflow  # noqa: PLC0415

    async with session.connecting(inputs.cluster.cluster) as connector:
        return await workflow.drift(inputs, store, connector, scope)


def _tell_drift(session: Session, found: ClusterDrift, count: int) -> None:
    from reconciler.cli.orphans import is_drift, orphan_data, orphan_lines, unread_lines  # noqa: PLC0415

    if session.json:
        session.print_json(
            {
                "resources": count,
                "resource_drift": [asdict(item) for item in found.drift],
                "orphans": [orphan_data(orphan) for orphan in found.orphans],
                "unread": [asdict(item) for item in found.unread],
            }
        )
        return
    from reconciler.views.values import show_change  # noqa: PLC0415

    for item in found.drift:
        sys.stdout.write(f"{item.kind}: {item.address} on {item.host}{f': {item.message}' if item.message else ''}\n")
        for attribute in item.attributes:
            recorded, observed = show_change(attribute.name, attribute.recorded, attribute.observed)
            sys.stdout.write(f"  {attribute.name} = {recorded} -> {observed}\n")
    told = {item.host for item in found.drift if item.message}
    for line in (*orphan_lines(found.orphans), *unread_lines(one for one in found.unread if one.host not in told)):
        sys.stdout.write(f"{line}\n")
    orphans = sum(map(is_drift, found.orphans))
    verdict = f"{len(found.drift)} of {count} resources are not as recorded" if found.drift else ""
    verdict = verdict or f"No drift in {count} resources"
    nobodys = f"; {plural(orphans, 'orphan')}, which nobody records" if orphans else ""
    sys.stdout.write(f"{verdict}{nobodys}.\n")


def verify(
    session: Session,
    slices: Annotated[list[str] | None, typer.Argument(metavar="[SLICE]...", help="Slices. (default: all)")] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also let routers ask every guest for its MAC by ARP.")
    ] = False,
) -> int:
    """Verify that the live network carries exactly the declared links, by tracing frames on every switch.

    Packets are followed through every router. Changes nothing, and sends nothing except the ARP requests of --probe.

    Exits 0 if verified, 2 if not or if a guest does not reply to --probe, and 1 if a host cannot be read.

    [bold]Examples[/bold]

      reconciler verify
      reconciler verify admin/two-vms
      reconciler verify --probe
      reconciler verify --json | jq .violations
    """
    from reconciler import workflow  # noqa: PLC0415
    from reconciler.views.verification import verification_data, verification_text  # noqa: PLC0415

    inputs = session.inputs()
    with session.reader(inputs.cluster) as store:
        scope = workflow.find_slices(store, slices) if slices else None
        result = run_reading(_verify(session, inputs, store, scope, probe=probe))
    if session.json:
        session.print_json(verification_data(result))
    else:
        sys.stdout.write(verification_text(result))
    return 0 if result.verified else NOT_VERIFIED


async def _verify(
    session: Session, inputs: Inputs, store: StateReader, scope: Collection[SliceKey] | None, *, probe: bool
) -> Verification:
    from reconciler.workflow import verify  # noqa: PLC0415

    async with session.connecting(inputs.cluster.cluster) as connector:
        return await verify.verify(inputs, store, connector, scope, probe=probe)


def doctor(session: Session) -> int:
    """Check that every host is ready: login, Open vSwitch, trunk, programs, kernel, space, clock, images.

    Changes nothing. Exits with 0 if every host is ready (warnings are allowed), and with 1 if not.

    [bold]Examples[/bold]

      reconciler doctor
      reconciler doctor --json | jq '.hosts[] | select(.fit | not)'
    """
    examined = run_reading(_doctor(session, session.inputs()))
    fit = all(examination.fit for examination in examined)
    if session.json:
        session.print_json({"fit": fit, "hosts": [_examination_data(examination) for examination in examined]})
        return 0 if fit else 1
    from reconciler.cli.tables import table  # noqa: PLC0415

    console = session.console()
    for examination in examined:
        console.print(table(_finding_rows(examination), examination.host or "here"))
    unfit = [examination.host or "here" for examination in examined if not examination.fit]
    sys.stdout.write(f"Not fit: {', '.join(unfit)}.\n" if unfit else "Every host is fit.\n")
    return 0 if fit else 1


async def _doctor(session: Session, inputs: Inputs) -> Sequence[Examination]:
    from reconciler.workflow.doctor import examine_cluster  # noqa: PLC0415

    async with session.connecting(inputs.cluster.cluster) as connector:
        return await examine_cluster(inputs, connector)


def _examination_data(examination: Examination) -> dict[str, Any]:
    """Return what was found as plain data; `host` is null for what was found here."""
    checks = [asdict(finding) for finding in examination.findings]
    return {"host": examination.host, "fit": examination.fit, "checks": checks}


def _finding_rows(examination: Examination) -> list[dict[str, Any]]:
    """Return a row for each check; the last column is there only where something is to be done."""
    rows = [
        {"check": one.check, "result": one.verdict, "found": one.found, "what to do": one.remedy or ""}
        for one in examination.findings
    ]
    idle = not any(row["what to do"] for row in rows)
    return [{name: value for name, value in row.items() if not (idle and name == "what to do")} for row in rows]


def _views(session: Session) -> tuple[SliceView, ...]:
    from reconciler.views.slices import slice_views  # noqa: PLC0415

    with session.reader(session.inputs().cluster) as store:
        return slice_views(store.read(None))


def _view(session: Session, name: str) -> SliceView:
    from reconciler import workflow  # noqa: PLC0415
    from reconciler.views.slices import slice_views  # noqa: PLC0415

    with session.reader(session.inputs().cluster) as store:
        (key,) = workflow.find_slices(store, [name])
        return next(view for view in slice_views(store.read({key})) if view.key == key)


def _slice_data(view: SliceView) -> dict[str, Any]:
    return {"slice": view.key} | {name: value for name, value in asdict(view).items() if name != "key"}


def _slice_row(view: SliceView) -> dict[str, Any]:
    return {
        "slice": view.key,
        "id": view.id,
        "vms": len(view.vms),
        "links": len(view.links),
        "workers": sorted({vm.worker for vm in view.vms}),
        "vlans": view.pool,
        "sync": view.sync,
    }


def _vm_row(vm: VmView) -> dict[str, Any]:
    return {
        "vm": vm.name,
        "id": vm.id,
        "worker": vm.worker,
        "status": vm.status,
        "addresses": [nic.ip for nic in vm.nics if nic.ip] or None,
        "vnc": vm.vnc,
    }


def _nic_rows(vm: VmView) -> list[dict[str, Any]]:
    return [
        {"vm": vm.name, "interface": nic.name, "mac": nic.mac, "vlan": nic.vlan, "address": nic.ip, "tap": nic.tap}
        for nic in vm.nics
    ]
