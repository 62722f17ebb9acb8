"""Formats what `cordon` and `uncordon` show."""

from __future__ import annotations

from reconciler.plan.snapshot import Cordon
from reconciler.spec.models.names import HostName
from reconciler.views import documents
from reconciler.views.view import View


def cordon_view(host: HostName, cordon: Cordon | None, *, cordoned: bool) -> View:
    """Show whether a host takes new VMs; `cordon` is the one that it has, or had, if any."""
    if cordoned:
        text = f"{host} {cordon}: no new VMs are placed there.\n"
    elif cordon is not None:
        text = f"{host} takes new VMs again.\n"
    else:
        text = f"{host} was not cordoned.\n"
    return View(
        lambda: [text],
        lambda: documents.CordonDocument(
            host=host,
            cordoned=cordoned,
            user=None if cordon is None else cordon.user,
            since=None if cordon is None else cordon.since,
        ),
    )
