"""Shows a plan, and what people read around it."""

from __future__ import annotations

import shlex
from pathlib import Path

from reconciler.plan.model import Plan
from reconciler.spec.quoting import shown
from reconciler.views.plan_json import plan_data
from reconciler.views.plan_text import render_text
from reconciler.views.view import PlanText, View

RENUMBERED_TEXT = "Another apply was first: planned again, with new numbers for new resources.\n"


def plan_view(plan: Plan) -> View:
    """Show a plan; its document is a PlanDocument."""
    return View(lambda: [PlanText(render_text(plan))], lambda: plan_data(plan))


def saved_text(file: Path) -> str:
    """Say how to apply a plan that was saved."""
    return f"Saved: `reconciler apply {shown(shlex.quote(str(file)), quote=False)}` performs exactly this plan.\n"


def data_loss_text(plan: Plan) -> str:
    """Name each disk that would be empty, and why."""
    return "".join(f"{change.address} on {change.subject.host}: {change.reason}\n" for change in plan.data_lost)


def data_loss_question(plan: Plan) -> str:
    """Ask whether to continue although data is lost."""
    return "Continue with an empty disk?" if len(plan.data_lost) == 1 else "Continue with empty disks?"
