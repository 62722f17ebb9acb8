"""Shows a plan, and what people read around it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.plan.data_loss import losses_text, unasked_losses
from reconciler.plan.model import Plan
from reconciler.plan.snapshot import Cordon
from reconciler.spec.models.names import HostName
from reconciler.spec.quoting import plural, shown
from reconciler.views.plan_json import plan_data
from reconciler.views.plan_text import render_text
from reconciler.views.view import PlanText, View

if TYPE_CHECKING:
    from reconciler.workflow.refresh import UnseenHost

NOTHING_SEEN_TEXT = "No changes were found where the hosts could be read.\n"
NO_CORDONS: Mapping[HostName, Cordon] = {}
RENUMBERED_TEXT = "Another apply was first: planned again, with new numbers for new resources.\n"


def plan_view(
    plan: Plan,
    unseen: Sequence[UnseenHost] = (),
    cordoned: Mapping[HostName, Cordon] = NO_CORDONS,
    *,
    full: bool = False,
) -> View:
    """Show a plan, the hosts that could not be read, and those that take no new VMs; its document is a PlanDocument.

    With `full`, the text has every resource however many VMs there are.
    """
    return View(
        lambda: [PlanText(cordons_text(cordoned) + _plan_text(plan, unseen, full=full))],
        lambda: plan_data(plan) | {"hosts_unknown": unseen_data(unseen), "hosts_cordoned": cordons_data(cordoned)},
    )


def _plan_text(plan: Plan, unseen: Sequence[UnseenHost], *, full: bool) -> str:
    """Never say that there are no changes where something could not be seen."""
    if not unseen:
        return render_text(plan, full=full)
    text = NOTHING_SEEN_TEXT if plan.empty else render_text(plan, full=full)
    return unseen_text(unseen) + text


def cordons_text(cordoned: Mapping[HostName, Cordon]) -> str:
    """Name each cordoned host, who cordoned it, and since when."""
    return "".join(f"{host} {cordon}: it takes no new VMs.\n" for host, cordon in cordoned.items())


def cordons_data(cordoned: Mapping[HostName, Cordon]) -> list[dict[str, Any]]:
    """Return the cordoned hosts as plain data."""
    return [{"host": host, "user": cordon.user, "since": cordon.since} for host, cordon in cordoned.items()]


def unseen_text(unseen: Iterable[UnseenHost]) -> str:
    """Name each host that could not be read, what is unknown for that, and why."""
    return "".join(f"{_unseen_line(each)}\n" for each in unseen)


def _unseen_line(each: UnseenHost) -> str:
    unknown = plural(each.vms, "VM") if each.vms else plural(each.resources, "resource")
    return f"{each.host} could not be read: state of {unknown} unknown: {each.reason}"


def unseen_data(unseen: Iterable[UnseenHost]) -> list[dict[str, Any]]:
    """Return the hosts that could not be read as plain data."""
    return [{"host": each.host, "reason": each.reason, "vms": each.vms, "resources": each.resources} for each in unseen]


def saved_text(file: Path) -> str:
    """Say how to apply a plan that was saved."""
    return f"Saved: `reconciler apply {shown(shlex.quote(str(file)), quote=False)}` performs exactly this plan.\n"


def data_loss_text(plan: Plan) -> str:
    """Name each disk whose data is lost although nobody asked for that, and why."""
    lost = unasked_losses(plan)
    return "".join(f"{change.address} on {change.subject.host}: {change.action}: {change.reason}\n" for change in lost)


def data_loss_question(plan: Plan) -> str:
    """Ask whether to continue although data is lost."""
    return f"Continue although {losses_text(len({change.name for change in unasked_losses(plan)}))}?"
