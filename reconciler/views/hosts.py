"""Formats what `hosts` shows: one row for each host."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from reconciler.spec.models.fields import format_size
from reconciler.spec.models.names import Address
from reconciler.spec.quoting import plural
from reconciler.views import documents
from reconciler.views.plan import cordons_text
from reconciler.views.tables import Table
from reconciler.views.view import Block, View
from reconciler.workflow.hosts import HostReport

_GIB = 2**30


def hosts_view(found: Sequence[HostReport]) -> View:
    """Show one row for each host, who cordoned it, and why it could not be read."""
    return View(lambda: _blocks(found), lambda: [_document(one) for one in found])


def lost_host_text(host: str, lost: Collection[Address]) -> str:
    """Say what is given up on a host that does not come back; the plan names the data that is lost."""
    count = plural(len(lost), "resource")
    return (
        f"{host} does not come back: {count} there will leave the state, and are created on the new host.\n"
        f"Make sure that {host} stays off: what still runs there would disturb them.\n"
    )


def _blocks(found: Sequence[HostReport]) -> list[Block]:
    cordoned = cordons_text({one.host: one.cordon for one in found if one.cordon is not None})
    unread = "".join(f"{one.host} could not be read: {one.reason}\n" for one in found if one.reason is not None)
    notes = cordoned + unread
    return [Table([_row(one) for one in found]), *([notes] if notes else [])]


def _row(one: HostReport) -> dict[str, object]:
    return {
        "host": one.host,
        "state": one.status.value,
        "vms": one.vms,
        "vcpus": one.vcpus,
        "memory": format_size(one.memory),
        "disks": format_size(one.disk),
        "used": _gib(one.used),
        "free": _gib(one.free),
        "slices": ", ".join(one.slices),
    }


def _gib(size: int | None) -> str:
    return "" if size is None else f"{size / _GIB:.1f}GiB"


def _document(one: HostReport) -> documents.HostDocument:
    return documents.HostDocument(
        host=one.host,
        state=one.status.value,
        vms=one.vms,
        vcpus=one.vcpus,
        memory=one.memory,
        disks=one.disk,
        disk_used=one.used,
        disk_free=one.free,
        slices=list(one.slices),
        cordoned_by=None if one.cordon is None else one.cordon.user,
        cordoned_since=None if one.cordon is None else one.cordon.since,
        reason=one.reason,
    )
