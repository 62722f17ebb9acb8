"""Formats slices for `status` and `show`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.spec.quoting import escape
from reconciler.views import documents
from reconciler.views.consoles import Consoles
from reconciler.views.slices import SliceView, VmView
from reconciler.views.tables import Table
from reconciler.views.view import Block, View


def status_view(slices: Sequence[SliceView], place: str) -> View:
    """Show one row for each slice, and where the state is."""

    def text() -> Sequence[Block]:
        return [Table([_slice_row(one) for one in slices]) if slices else "There is no slice in the state.\n"]

    return View(text, lambda: [_document(one) for one in slices], lambda: f"State: {escape(place)}\n")


def slice_view(one: SliceView, consoles: Mapping[str, Consoles]) -> View:
    """Show one slice with its VMs, NICs and links, and beside it the commands that reach its consoles."""
    return View(lambda: list(_blocks(one)), lambda: _document(one, consoles), lambda: _console_notes(consoles))


def _document(one: SliceView, consoles: Mapping[str, Consoles] | None = None) -> documents.SliceDocument:
    consoles = consoles or {}
    return documents.SliceDocument(
        slice=one.key,
        id=one.id,
        pool=list(one.pool),
        sync=one.sync,
        vms=[_vm_document(vm, consoles.get(vm.name)) for vm in one.vms],
        links=[documents.SliceLink.model_validate(link) for link in one.links],
    )


def _vm_document(vm: VmView, commands: Consoles | None) -> documents.SliceVm:
    found = documents.SliceVm.model_validate(vm)
    if commands is None:
        return found
    return found.model_copy(update={"consoles": documents.SliceConsoles.model_validate(commands)})


def _console_notes(consoles: Mapping[str, Consoles]) -> str:
    if not consoles:
        return ""
    screens = [f"  {name}: {escape(commands.vnc)}\n" for name, commands in consoles.items()]
    serial = [f"  {name}: {escape(commands.serial)}\n" for name, commands in consoles.items()]
    open_them = "Screens, as the first port on 127.0.0.1 in a VNC viewer while the command runs:\n"
    return "".join((open_them, *screens, "Serial ports (Enter shows the prompt, Ctrl-C leaves):\n", *serial))


def _blocks(one: SliceView) -> Iterator[Block]:
    yield f"slice {one.key}  id {one.id}  VLANs {', '.join(one.pool)}  {one.sync}\n"
    yield Table([_vm_row(vm) for vm in one.vms], "VMs")
    yield Table([row for vm in one.vms for row in _nic_rows(vm)], "Interfaces")
    if one.links:
        rows = [
            {
                "link": link.key,
                "id": link.id,
                "vlan": link.vlan,
                "subnet": link.subnet,
                "gateway": link.gateway,
                "status": link.status,
            }
            for link in one.links
        ]
        yield Table(rows, "Links")


def _slice_row(one: SliceView) -> dict[str, Any]:
    return {
        "slice": one.key,
        "id": one.id,
        "vms": len(one.vms),
        "links": len(one.links),
        "workers": sorted({vm.worker for vm in one.vms}),
        "vlans": one.pool,
        "sync": _pending(one.sync, pending=any(vm.restart_pending for vm in one.vms)),
    }


def _vm_row(vm: VmView) -> dict[str, Any]:
    return {
        "vm": vm.name,
        "id": vm.id,
        "worker": vm.worker,
        "status": _pending(vm.status, pending=vm.restart_pending),
        **({} if vm.health is None else {"health": vm.health}),
        "addresses": [nic.ip for nic in vm.nics if nic.ip] or None,
        "vnc": vm.vnc,
    }


def _pending(status: str, *, pending: bool) -> str:
    return f"{status}, restart pending" if pending else status


def _nic_rows(vm: VmView) -> list[dict[str, Any]]:
    return [
        {"vm": vm.name, "interface": nic.name, "mac": nic.mac, "vlan": nic.vlan, "address": nic.ip, "tap": nic.tap}
        for nic in vm.nics
    ]
